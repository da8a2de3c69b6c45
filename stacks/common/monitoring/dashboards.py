#!/usr/bin/env python3
"""Writes grafana/dashboards/*.json from the tables below. Edit here, never there:

    python3 stacks/common/monitoring/dashboards.py

A panel is (title, unit, [(query, legend), ...]); two stand side by side in a row. Every query returns
data on a server under load (tests/python/test_monitoring.py asks a real Prometheus), so sums that
have no series before their first error say `or vector(0)`.
"""

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "grafana" / "dashboards"
DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
USERS = 'endpoint!~"/|/web/|/metrics|/health"'
FAILED = USERS + ',status=~"5.."'


def rate(name, labels="", by=""):
    return f"sum {f'by ({by}) ' if by else ''}(rate({name}{{{labels}}}[$__rate_interval]))"


def quantile(q, name, labels=""):
    return f"histogram_quantile({q}, {rate(f'{name}_bucket', labels, 'le')})"


def quantiles(name, labels=""):
    return [(quantile(q, name, labels), f"p{round(q * 100)}") for q in (0.5, 0.95, 0.99)]


SERVICE = {
    "Requests": [
        ("Requests a second", "reqps", [(rate("mistral_http_requests_total", USERS, "endpoint"), "{{endpoint}}")]),
        ("Share that failed", "percentunit", [(
            f"({rate('mistral_http_requests_total', FAILED)} or vector(0)) / "
            f"{rate('mistral_http_requests_total', USERS)}", "server errors")]),
        ("Time to the last byte", "s", quantiles("mistral_http_request_duration_seconds", USERS)),
        ("Requests being answered", "short", [("sum(mistral_active_requests)", "active")]),
        ("Turned away a second", "reqps", [(rate("mistral_rejections_total", "", "reason"), "{{reason}}")]),
        ("Pieces streamed a second", "ops", [(rate("mistral_streaming_chunks_total", "", "endpoint"), "{{endpoint}}")]),
    ],
    "Tokens": [
        ("Tokens a second", "short", [
            (rate("mistral_generate_tokens_total", "", "model"), "generated, {{model}}"),
            (rate("mistral_prompt_tokens_total", "", "model"), "of prompts, {{model}}")]),
        ("Time to the first token", "s", quantiles("mistral_time_to_first_token_seconds")),
        ("Time between tokens", "s", quantiles("mistral_time_between_tokens_seconds")),
        ("Time of a whole answer", "s", quantiles("mistral_generate_duration_seconds")),
    ],
    "Engine": [
        ("Queue", "short", [
            ("sum by (model) (mistral_sequences_waiting)", "waiting, {{model}}"),
            ("mistral_batch_queue_size", "waiting, all models"),
            ("sum by (model) (mistral_sequences_running)", "running, {{model}}")]),
        ("Time in the queue", "s", quantiles("mistral_queue_duration_seconds")),
        ("Decode, seconds a token", "s", [(
            f"{rate('mistral_decode_duration_seconds_sum', '', 'batch_size')} / "
            f"({rate('mistral_decode_duration_seconds_count', '', 'batch_size')} > 0)", "batch of {{batch_size}}")]),
        ("Prefill", "s", quantiles("mistral_prefill_duration_seconds")),
        ("Steps a second", "ops", [(rate("mistral_engine_steps_total", "", "model"), "{{model}}")]),
        ("Set back a second", "ops", [(rate("mistral_preemptions_total", "", "model"), "{{model}}")]),
        ("KV blocks", "short", [
            ("sum by (model) (mistral_kv_blocks_used)", "held, {{model}}"),
            ("sum by (model) (mistral_kv_blocks_cached)", "cached, {{model}}"),
            ("sum by (model) (mistral_kv_blocks_capacity)", "there are, {{model}}")]),
        ("Prompt tokens from the prefix cache", "percentunit", [(
            f"{rate('mistral_prefix_cache_hit_tokens_total', '', 'model')} / "
            f"({rate('mistral_prefix_cache_lookup_tokens_total', '', 'model')} > 0)", "{{model}}")]),
    ],
    "Machine": [
        ("Device in use", "percentunit", [("mistral_device_compute_utilization_ratio", "{{device}} {{device_id}}")]),
        ("Device memory", "bytes", [("mistral_device_memory_usage_bytes", "{{device}} {{device_id}}, {{memory_type}}")]),
        ("Memory of the process", "bytes", [
            ('process_resident_memory_bytes{job="mistral"}', "resident"), ("mistral_memory_limit_bytes", "limit")]),
        ("Processor cores in use", "short", [(rate("process_cpu_seconds_total", 'job="mistral"'), "cores")]),
        ("Loading models, seconds", "s", [(
            "mistral_model_load_duration_seconds_sum / mistral_model_load_duration_seconds_count", "{{model}}")]),
        ("Version", "short", [("mistral_build_info", "{{version}} {{commit}}")]),
    ],
}

# From results of the benchmark, which textfile.py turned into metrics for the node exporter.
COMPARISON = {
    "Side by side": [
        ("Tokens a second", "short", [("mistral_benchmark_tokens_per_second", "{{engine}}, {{scenario}}")]),
        ("Time to the first token", "s", [("mistral_benchmark_first_token_seconds", "{{engine}}, {{scenario}}")]),
        ("Time of a whole answer", "s", [("mistral_benchmark_answer_seconds", "{{engine}}, {{scenario}}")]),
        # The two may know one model by two names.
        ("Tokens a second, this engine over Ollama", "short", [(
            'avg by (scenario) (mistral_benchmark_tokens_per_second{engine="mistral.c"}) / '
            'avg by (scenario) (mistral_benchmark_tokens_per_second{engine="ollama"})', "{{scenario}}")]),
    ],
}


def panel(number, x, y, title, unit, queries):
    targets = [{"refId": chr(ord("A") + i), "datasource": DATASOURCE, "expr": query, "legendFormat": legend}
               for i, (query, legend) in enumerate(queries)]
    return {"id": number, "type": "timeseries", "title": title, "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": 12, "h": 8}, "targets": targets,
            "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []}}


def dashboard(uid, title, rows):
    panels, y, number = [], 0, 1
    for name, row in rows.items():
        panels.append({"id": number, "type": "row", "title": name, "collapsed": False,
                       "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "panels": []})
        y, number = y + 1, number + 1
        for i, (heading, unit, queries) in enumerate(row):
            panels.append(panel(number, 12 * (i % 2), y + 8 * (i // 2), heading, unit, queries))
            number += 1
        y += 8 * ((len(row) + 1) // 2)
    return {"uid": uid, "title": title, "tags": ["mistral"], "schemaVersion": 39, "editable": False,
            "refresh": "15s", "time": {"from": "now-1h", "to": "now"}, "panels": panels}


def dashboards():
    """{file name: text}"""
    made = {"service.json": dashboard("mistral-service", "Mistral: the service", SERVICE),
            "comparison.json": dashboard("mistral-comparison", "Mistral: beside Ollama", COMPARISON)}
    return {name: json.dumps(content, indent=1) + "\n" for name, content in made.items()}


if __name__ == "__main__":
    for name, text in dashboards().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
