/*
 * cpu_experts.c - feed-forwards of experts: who is chosen, and the products, grouped by expert so
 * that each expert's weights are read once a step.
 *
 * Owns the scratch of that, reserved before the first step. A row's experts are chosen from its own
 * logits, their products are the same bits whoever else meets the weights, and whoever owns a
 * column of the output adds the experts in their order: so no row depends on another.
 */
#include "backend/cpu/cpu_matmul.h"

#include "base/bytes.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- scratch ---- */

/* What is reserved: a row of a table each. */
struct reservation {
    void *slot; /* of the buffer's pointer */
    size_t count, size;
};

enum { RESERVATIONS = 8, SCORE_ARRAYS = 3 };

static void list_reservations(struct cpu_experts *experts, const struct scratch_shape *shape,
                              size_t thread_count, struct reservation list[RESERVATIONS]) {
    size_t pairs = shape->max_rows * shape->used_experts, count = shape->expert_count;
    const struct reservation all[RESERVATIONS] = {
        {&experts->uses, pairs, sizeof *experts->uses},
        {&experts->rows, pairs, sizeof *experts->rows},
        {&experts->weights, pairs, sizeof *experts->weights},
        {&experts->gated, pairs, shape->expert_length * sizeof *experts->gated},
        {&experts->ends, count, sizeof *experts->ends},
        {&experts->inputs, count, sizeof *experts->inputs},
        {&experts->parts, count, sizeof *experts->parts},
        {&experts->scores, thread_count, SCORE_ARRAYS * count * sizeof *experts->scores},
    };
    memcpy(list, all, sizeof all);
}

size_t cpu_experts_bytes(const struct cpu_backend *cpu, const struct scratch_shape *shape) {
    struct cpu_experts none = {0};
    struct reservation list[RESERVATIONS];
    size_t total = 0;
    list_reservations(&none, shape, cpu->thread_count, list);
    for (size_t i = 0; i < RESERVATIONS && shape->expert_count > 0; i++) {
        total += cpu_allocated_bytes(list[i].count * list[i].size);
    }
    return total;
}

bool cpu_experts_reserve(struct backend *backend, const struct scratch_shape *shape,
                         struct error *error) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    struct scratch_shape *largest = &cpu->experts.shape;
    largest->max_rows = size_max(largest->max_rows, shape->max_rows);
    largest->expert_count = size_max(largest->expert_count, shape->expert_count);
    largest->used_experts = size_max(largest->used_experts, shape->used_experts);
    largest->expert_length = size_max(largest->expert_length, shape->expert_length);
    largest->expert_width = size_max(largest->expert_width, shape->expert_width);
    struct reservation list[RESERVATIONS];
    list_reservations(&cpu->experts, largest, cpu->thread_count, list);
    for (size_t i = 0; i < RESERVATIONS; i++) {
        if (!cpu_replace(list[i].slot, list[i].count, list[i].size, "experts' scratch", error)) {
            return false;
        }
    }
    return cpu_size_scratch(cpu, error);
}

void cpu_experts_free(struct cpu_experts *experts) {
    struct reservation list[RESERVATIONS];
    list_reservations(experts, &experts->shape, 1, list);
    for (size_t i = 0; i < RESERVATIONS; i++) {
        free(*(void **)list[i].slot);
    }
}

/* ---- the choice ---- */

struct choice_job {
    struct cpu_backend *cpu;
    const struct cpu_activation *router;
    const struct expert_choice *choice;
    const float *bias, *scales; /* [expert_count], or NULL */
};

/* A thread's scratch. */
struct scores {
    float *scores; /* [expert_count] */
    float *ranks;  /* [expert_count]: what is chosen by, never not-a-number */
    float *groups; /* [group_count]: how good each is */
};

static void softmax(float *values, size_t count) {
    float maximum = -INFINITY, sum = 0;
    for (size_t i = 0; i < count; i++) {
        maximum = fmaxf(maximum, values[i]);
    }
    for (size_t i = 0; i < count; i++) {
        values[i] = expf(values[i] - maximum);
        sum += values[i];
    }
    for (size_t i = 0; i < count; i++) {
        values[i] /= sum;
    }
}

static void score(enum expert_scoring scoring, const float *logits, size_t count, float *scores) {
    memcpy(scores, logits, count * sizeof *scores);
    if (scoring == EXPERTS_SOFTMAX) {
        softmax(scores, count);
    }
    for (size_t i = 0; scoring == EXPERTS_SIGMOID && i < count; i++) {
        scores[i] = 1.0f / (1.0f + expf(-scores[i]));
    }
}

/* The sum of the two best of a group, or its only one. */
static float group_rank(const float *ranks, size_t count) {
    float best = -FLT_MAX, second = count == 1 ? 0 : -FLT_MAX;
    for (size_t i = 0; i < count; i++) {
        if (ranks[i] > best) {
            second = count == 1 ? 0 : best;
            best = ranks[i];
        } else if (ranks[i] > second) {
            second = ranks[i];
        }
    }
    return best + second;
}

/* Experts outside the best groups come after all others. Of equal groups the first is better. */
static void leave_out_groups(const struct expert_choice *choice, struct scores *row) {
    size_t size = choice->expert_count / choice->group_count;
    for (size_t g = 0; g < choice->group_count; g++) {
        row->groups[g] = group_rank(row->ranks + g * size, size);
    }
    for (size_t g = 0; g < choice->group_count; g++) {
        size_t better = 0;
        for (size_t other = 0; other < choice->group_count; other++) {
            better += row->groups[other] > row->groups[g] ||
                      (row->groups[other] == row->groups[g] && other < g);
        }
        for (size_t i = g * size; better >= choice->used_groups && i < (g + 1) * size; i++) {
            row->ranks[i] = -INFINITY;
        }
    }
}

/* The `count` best, best first; of equal ones the first. uses[].weight: their ranks. */
static void take_best(const float *ranks, size_t expert_count, size_t count,
                      struct expert_use *uses) {
    size_t taken = 0;
    for (size_t e = 0; e < expert_count; e++) {
        if (taken == count && !(ranks[e] > uses[count - 1].weight)) {
            continue;
        }
        taken += taken < count;
        size_t at = taken - 1;
        for (; at > 0 && uses[at - 1].weight < ranks[e]; at--) {
            uses[at] = uses[at - 1];
        }
        uses[at] = (struct expert_use){(uint32_t)e, ranks[e]};
    }
}

static void sort_by_expert(struct expert_use *uses, size_t count) {
    for (size_t i = 1; i < count; i++) {
        struct expert_use use = uses[i];
        size_t at = i;
        for (; at > 0 && uses[at - 1].expert > use.expert; at--) {
            uses[at] = uses[at - 1];
        }
        uses[at] = use;
    }
}

/* From the scores of those chosen, in their order. */
static void weigh(const struct choice_job *job, const struct scores *row, struct expert_use *uses) {
    const float least_sum = 0x1p-14f; /* f16's smallest normal number, where others clamp too */
    const struct expert_choice *choice = job->choice;
    float *weights = row->ranks, sum = 0;
    for (size_t i = 0; i < choice->used_count; i++) {
        weights[i] = row->scores[uses[i].expert];
    }
    if (choice->scoring == EXPERTS_SOFTMAX_OF_CHOSEN) {
        softmax(weights, choice->used_count);
    }
    for (size_t i = 0; i < choice->used_count; i++) {
        sum += weights[i];
    }
    float divisor = choice->normalise ? fmaxf(sum, least_sum) : 1;
    for (size_t i = 0; i < choice->used_count; i++) {
        float own = job->scales == NULL ? 1 : job->scales[uses[i].expert];
        uses[i].weight = weights[i] / divisor * choice->scale * own;
    }
}

static void choose(const struct choice_job *job, const float *logits, struct scores *row,
                   struct expert_use *uses) {
    const struct expert_choice *choice = job->choice;
    score(choice->scoring, logits, choice->expert_count, row->scores);
    for (size_t e = 0; e < choice->expert_count; e++) {
        float rank = row->scores[e] + (job->bias == NULL ? 0 : job->bias[e]);
        row->ranks[e] = fmaxf(rank, -FLT_MAX);
    }
    if (choice->group_count > 1) {
        leave_out_groups(choice, row);
    }
    take_best(row->ranks, choice->expert_count, choice->used_count, uses);
    sort_by_expert(uses, choice->used_count);
    weigh(job, row, uses);
}

static void choose_rows(void *context, size_t thread_index) {
    const struct choice_job *job = context;
    const struct cpu_experts *experts = &job->cpu->experts;
    size_t count = experts->shape.expert_count;
    float *scratch = experts->scores + thread_index * SCORE_ARRAYS * count;
    struct scores scores = {scratch, scratch + count, scratch + 2 * count};
    size_t first, end;
    while (cpu_next_rows(job->cpu, job->cpu->batch->row_count, &first, &end)) {
        for (size_t row = first; row < end; row++) {
            choose(job, job->router->data + row * job->router->columns, &scores,
                   experts->uses + row * job->choice->used_count);
        }
    }
}

/* ---- the products ---- */

struct expert_job {
    struct cpu_backend *cpu;
    const struct expert_layer *layer;
    const struct cpu_activation *x;
    struct cpu_activation *out;
};

/* Pairs by expert, in rows and weights; ends. */
static void group_by_expert(struct cpu_experts *experts, const struct expert_choice *choice,
                            size_t row_count) {
    size_t pairs = row_count * choice->used_count;
    uint32_t *at = experts->ends, total = 0;
    memset(at, 0, choice->expert_count * sizeof *at);
    for (size_t i = 0; i < pairs; i++) {
        at[experts->uses[i].expert]++;
    }
    for (size_t e = 0; e < choice->expert_count; e++) {
        uint32_t count = at[e];
        at[e] = total; /* where its first pair goes; moves up to its end */
        total += count;
    }
    for (size_t i = 0; i < pairs; i++) {
        uint32_t pair = at[experts->uses[i].expert]++;
        experts->rows[pair] = (uint32_t)(i / choice->used_count);
        experts->weights[pair] = experts->uses[i].weight;
    }
}

static const float *bias_of(const struct weight *biases, size_t expert, size_t width) {
    return biases == NULL ? NULL : cpu_vector_of(biases) + expert * width;
}

/* Of one expert, whose first pair is input->first: x → gated. */
static void fill_first(const struct expert_job *job, size_t expert, struct matmul_input *input,
                       struct matmul_part *part) {
    const struct cpu_experts *experts = &job->cpu->experts;
    const struct expert_layer *layer = job->layer;
    const struct cpu_weight *gate = &cpu_stack_of(layer->gate)->slices[expert];
    input->x = job->x->data;
    input->stride = job->x->columns;
    input->rows = experts->rows + input->first;
    *part = (struct matmul_part){.weight = gate,
                                 .second = &cpu_stack_of(layer->up)->slices[expert],
                                 .bias = bias_of(layer->gate_bias, expert, gate->rows),
                                 .second_bias = bias_of(layer->up_bias, expert, gate->rows),
                                 .epilogue = MATMUL_GATED,
                                 .gate = &layer->function,
                                 .out = experts->gated + input->first * gate->rows,
                                 .out_stride = gate->rows};
}

/* gated → out, where the rows belong. */
static void fill_second(const struct expert_job *job, size_t expert, struct matmul_input *input,
                        struct matmul_part *part) {
    const struct cpu_experts *experts = &job->cpu->experts;
    const struct cpu_weight *down = &cpu_stack_of(job->layer->down)->slices[expert];
    input->x = experts->gated + input->first * down->columns;
    input->stride = down->columns;
    *part = (struct matmul_part){.weight = down,
                                 .bias = bias_of(job->layer->down_bias, expert, down->rows),
                                 .epilogue = MATMUL_ADD,
                                 .out = job->out->data,
                                 .out_stride = job->out->columns,
                                 .out_rows = experts->rows + input->first,
                                 .factors = experts->weights + input->first};
}

/* One part for each expert that any row uses, in rising order. */
static void multiply(const struct expert_job *job, size_t columns, bool is_sum,
                     void (*fill)(const struct expert_job *job, size_t expert,
                                  struct matmul_input *input, struct matmul_part *part)) {
    const struct cpu_experts *experts = &job->cpu->experts;
    size_t parts = 0, first = 0;
    for (size_t e = 0; e < job->layer->choice.expert_count; e++) {
        size_t end = experts->ends[e];
        if (first < end) {
            struct matmul_input *input = &experts->inputs[parts];
            *input = (struct matmul_input){.first = first, .count = end - first};
            fill(job, e, input, &experts->parts[parts]);
            experts->parts[parts++].input = input;
        }
        first = end;
    }
    struct matmul_job products = {.cpu = job->cpu,
                                  .columns = columns,
                                  .inputs = experts->inputs,
                                  .input_count = parts,
                                  .parts = experts->parts,
                                  .part_count = parts,
                                  .is_sum = is_sum};
    cpu_run_matmul(&products);
}

void cpu_experts(struct backend *backend, const struct activation *x,
                 const struct activation *router, const struct expert_layer *layer, bool adds,
                 struct activation *out) {
    struct cpu_backend *cpu = cpu_backend_of(backend);
    size_t rows = cpu->batch->row_count;
    struct choice_job choice = {.cpu = cpu,
                                .router = cpu_activation_view(router),
                                .choice = &layer->choice,
                                .bias = cpu_vector_of(layer->selection_bias),
                                .scales = cpu_vector_of(layer->scales)};
    struct expert_job job = {
        .cpu = cpu, .layer = layer, .x = cpu_activation_view(x), .out = cpu_activation_of(out)};
    cpu_run(cpu, rows / CPU_CHUNK_ROWS, choose_rows, &choice);
    group_by_expert(&cpu->experts, &layer->choice, rows);
    multiply(&job, cpu_stack_of(layer->gate)->weight.columns, false, fill_first);
    if (!adds) {
        memset(job.out->data, 0, rows * job.out->columns * sizeof *job.out->data);
    }
    multiply(&job, cpu_stack_of(layer->down)->weight.columns, true, fill_second);
}
