"""Reads /metrics with Prometheus' own Python parsers, the strict one of OpenMetrics too."""

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

OPENMETRICS = "application/openmetrics-text"


def samples_of(text, parse=parse_text):
    """{(name, ((label, value), ...)): value} of every sample; one that comes twice is an error."""
    samples = {}
    for family in parse(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in samples, f"twice: {key}"
            samples[key] = sample.value
    return samples


class MetricsPage:
    def __init__(self, server, headers=None):
        answer = server.request("GET", "/metrics", headers=headers)
        assert answer.status == 200, answer
        self.content_type = answer.headers["content-type"]
        self.text = answer.body.decode("utf-8")
        is_openmetrics = self.content_type.startswith(OPENMETRICS)
        self.samples = samples_of(self.text, parse_openmetrics if is_openmetrics else parse_text)

    def get(self, name, **labels):
        return self.samples.get((name, tuple(sorted(labels.items()))), 0)

    def sum(self, name, **labels):
        """Over all series that have these labels."""
        return sum(value for (sample, given), value in self.samples.items()
                   if sample == name and labels.items() <= dict(given).items())

    def since(self, before):
        """What each series has grown by."""
        return {key: value - before.samples.get(key, 0) for key, value in self.samples.items()
                if value != before.samples.get(key, 0)}
