/* Writes a dump for llorch without any library: the ids, `embed` and `h.0.ln_1` of a GPT-2 in float32.
 *
 *     cc -std=c99 -O2 -o dump dump.c -lm
 *     ./dump model.safetensors out.safetensors 15496 11 995
 *     llorch diagnose out.safetensors --model FOLDER_OF_THE_MODEL
 *
 * A safetensors file is the length of a header (8 bytes, little-endian), the header (JSON), and the numbers.
 * Your engine has its own way to its weights: what it needs of this file is write_dump, at the bottom.
 * Assumes a little-endian machine, as nearly all are.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name;  /* as the table in docs/dumps.md has it, here without step.K/: one forward call */
    const char *dtype; /* I64 or F32 */
    size_t rows, columns; /* columns 0: a tensor of one axis */
    const void *numbers;
} Tensor;

static void fail(const char *what, const char *name) {
    fprintf(stderr, "dump: %s %s\n", what, name);
    exit(2);
}

/* Reads a float32 tensor by its name, with or without "transformer." before it. */
static float *read_weight(const char *path, const char *name, size_t *rows, size_t *columns) {
    FILE *file = fopen(path, "rb");
    uint64_t length;
    if (!file || fread(&length, 8, 1, file) != 1 || length > 100000000) fail("cannot read", path);
    char *header = calloc(length + 1, 1);
    if (!header || fread(header, 1, length, file) != length) fail("cannot read", path);

    char key[128];
    snprintf(key, sizeof key, "\"%s\"", name);
    char *entry = strstr(header, key);
    snprintf(key, sizeof key, "\"transformer.%s\"", name);
    if (!entry) entry = strstr(header, key);
    if (!entry) fail("there is no tensor", name);
    char *end = strchr(entry, '}'), *float32 = strstr(entry, "\"F32\"");
    char *shape = strstr(entry, "\"shape\""), *offsets = strstr(entry, "\"data_offsets\"");
    if (!end || !float32 || float32 > end || !shape || !offsets) fail("this is not float32:", name);

    unsigned long long first, last;
    *columns = 0;
    if (sscanf(strchr(shape, '['), "[%zu , %zu", rows, columns) < 1) fail("no shape:", name);
    if (sscanf(strchr(offsets, '['), "[%llu , %llu", &first, &last) != 2) fail("no place:", name);
    size_t size = *rows * (*columns ? *columns : 1);
    float *numbers = malloc(size * sizeof(float));
    if (last - first != size * sizeof(float) || fseek(file, (long)(8 + length + first), SEEK_SET) != 0 ||
        fread(numbers, sizeof(float), size, file) != size)
        fail("cannot read", name);
    fclose(file);
    free(header);
    return numbers;
}

static void layer_norm(float *out, const float *x, const float *weight, const float *bias, size_t n) {
    float mean = 0, variance = 0;
    for (size_t i = 0; i < n; i++) mean += x[i] / n;
    for (size_t i = 0; i < n; i++) variance += (x[i] - mean) * (x[i] - mean) / n;
    for (size_t i = 0; i < n; i++) out[i] = (x[i] - mean) / sqrtf(variance + 1e-5f) * weight[i] + bias[i];
}

/* Writes tensors to a safetensors file that llorch reads as a dump. */
static void write_dump(const char *path, const char *engine, const Tensor *tensors, size_t count) {
    size_t room = 256 + strlen(engine) + 256 * count, used = 0, offset = 0;
    char *header = malloc(room);
    used += snprintf(header, room,
                     "{\"__metadata__\":{\"llorch_dump\":\"1\",\"engine\":\"%s\",\"dtype\":\"float32\"}", engine);
    for (size_t i = 0; i < count; i++) {
        const Tensor *t = &tensors[i];
        size_t bytes = t->rows * (t->columns ? t->columns : 1) * (strcmp(t->dtype, "I64") ? 4 : 8);
        used += snprintf(header + used, room - used, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%zu", t->name, t->dtype,
                         t->rows);
        if (t->columns) used += snprintf(header + used, room - used, ",%zu", t->columns);
        used += snprintf(header + used, room - used, "],\"data_offsets\":[%zu,%zu]}", offset, offset + bytes);
        offset += bytes;
    }
    used += snprintf(header + used, room - used, "}");
    while (used % 8) header[used++] = ' '; /* so that the numbers are aligned */

    FILE *file = fopen(path, "wb");
    uint64_t length = used;
    if (!file) fail("cannot write", path);
    fwrite(&length, 8, 1, file);
    fwrite(header, 1, used, file);
    for (size_t i = 0; i < count; i++) {
        const Tensor *t = &tensors[i];
        fwrite(t->numbers, strcmp(t->dtype, "I64") ? 4 : 8, t->rows * (t->columns ? t->columns : 1), file);
    }
    if (ferror(file) || fclose(file) != 0) fail("cannot write", path);
    free(header);
}

int main(int argc, char **argv) {
    if (argc < 4) fail("wants", "MODEL.safetensors OUT.safetensors ID...");
    size_t n_vocab, n_ctx, n_embd, T = (size_t)argc - 3, one, none;
    float *wte = read_weight(argv[1], "wte.weight", &n_vocab, &n_embd);
    float *wpe = read_weight(argv[1], "wpe.weight", &n_ctx, &n_embd);
    float *weight = read_weight(argv[1], "h.0.ln_1.weight", &one, &none);
    float *bias = read_weight(argv[1], "h.0.ln_1.bias", &one, &none);

    int64_t *ids = malloc(T * sizeof *ids);
    float *embed = malloc(T * n_embd * sizeof *embed), *ln_1 = malloc(T * n_embd * sizeof *ln_1);
    for (size_t t = 0; t < T; t++) {
        ids[t] = strtoll(argv[3 + t], NULL, 10);
        if (ids[t] < 0 || (size_t)ids[t] >= n_vocab || t >= n_ctx) fail("out of range:", argv[3 + t]);
        for (size_t i = 0; i < n_embd; i++) embed[t * n_embd + i] = wte[ids[t] * n_embd + i] + wpe[t * n_embd + i];
        layer_norm(ln_1 + t * n_embd, embed + t * n_embd, weight, bias, n_embd);
    }
    Tensor tensors[] = {
        {"ids", "I64", T, 0, ids},
        {"embed", "F32", T, n_embd, embed},
        {"h.0.ln_1", "F32", T, n_embd, ln_1},
    };
    write_dump(argv[2], "dump.c", tensors, sizeof tensors / sizeof *tensors);
    return 0;
}
