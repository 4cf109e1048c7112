// The policy as a header of plain C: the weights as tables, the layers as calls in order.
#include "base/file.h"
#include "train/export.h"
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// "block0/dense1/kernel" -> "block0_dense1_kernel"
static const char *identifier(const char *name, char out[64]) {
  snprintf(out, 64, "%s", name);
  for (char *c = out; *c; c++)
    if (*c == '/') *c = '_';
  return out;
}

// Nine digits tell every float from its neighbours.
static void write_table(FILE *f, const char *name, const brc_policy_tensor *t) {
  char id[64];
  size_t n = (size_t)t->rows * t->cols;
  fprintf(f, "// [%" PRIu32 ", %" PRIu32 "]\nstatic const float %s_%s[%zu] = {", t->rows, t->cols, name,
          identifier(t->name, id), n);
  for (size_t i = 0; i < n; i++)
    fprintf(f, "%s%.8ef%s", i % 8 ? " " : "\n  ", (double)t->data[i], i + 1 < n ? "," : "");
  fprintf(f, "};\n\n");
}

static void write_head(FILE *f, const brc_policy *p, const char *name) {
  fprintf(
      f,
      "// The mean action of a policy trained by brc " BRC_VERSION ", at environment step %" PRIu64
      ". Plain C99; link with -lm.\n//   float obs[%s_OBS], action[%s_ACT];\n//   %s_act(obs, task, action);\n",
      p->env_steps, name, name, name);
  if (p->task_count > 1)
    fprintf(
        f,
        "// task is below %s_TASKS. A task's observation is filled up with zeros behind its own dimensions; of "
        "the\n// action, its first dimensions count.\n",
        name);
  for (uint32_t i = 0; i < p->task_count; i++)
    fprintf(f, "// task %" PRIu32 ": %s, %d observations, %d actions\n", i, p->tasks[i]->name,
            p->tasks[i]->obs_dim, p->tasks[i]->act_dim);
  fprintf(f, "#ifndef BRC_POLICY_%s_H\n#define BRC_POLICY_%s_H\n#include <math.h>\n\n", name, name);
  fprintf(f, "#define %s_TASKS %" PRIu32 "\n#define %s_OBS %" PRIu32 "\n#define %s_ACT %" PRIu32 "\n\n", name,
          p->task_count, name, p->obs_dim, name, p->act_dim);
}

static void write_layers(FILE *f, const brc_policy *p, const char *name) {
  fprintf(f,
          "// y = x K + b, K [in, out]\n"
          "static inline void %s_dense(const float *x, int in, int out, const float *kernel, const float "
          "*bias, float "
          "*y) {\n"
          "  for (int j = 0; j < out; j++) y[j] = bias[j];\n"
          "  for (int i = 0; i < in; i++)\n"
          "    for (int j = 0; j < out; j++) y[j] += x[i] * kernel[i * out + j];\n"
          "}\n\n",
          name);
  fprintf(f,
          "// LayerNorm in place, then relu if asked for\n"
          "static inline void %s_norm(float *x, const float *scale, const float *bias, int relu) {\n"
          "  const int n = %" PRIu32
          ";\n"
          "  float mean = 0, square = 0;\n"
          "  for (int i = 0; i < n; i++) mean += x[i];\n"
          "  mean /= (float)n;\n"
          "  for (int i = 0; i < n; i++) square += (x[i] - mean) * (x[i] - mean);\n"
          "  const float factor = 1.0f / sqrtf(square / (float)n + %.8ef);\n"
          "  for (int i = 0; i < n; i++) {\n"
          "    x[i] = (x[i] - mean) * factor * scale[i] + bias[i];\n"
          "    if (relu && x[i] < 0) x[i] = 0;\n"
          "  }\n"
          "}\n\n",
          name, p->width, p->layernorm_eps);
}

// One dense layer with its norm: from `in` of `width` values to `out`.
static void write_dense_norm(FILE *f, const brc_policy *p, const char *name, const char *dense,
                             const char *norm, const char *in, uint32_t width, const char *out, int relu) {
  fprintf(f, "  %s_dense(%s, %" PRIu32 ", %" PRIu32 ", %s_%s_kernel, %s_%s_bias, %s);\n", name, in, width,
          p->width, name, dense, name, dense, out);
  fprintf(f, "  %s_norm(%s, %s_%s_scale, %s_%s_bias, %d);\n", name, out, name, norm, name, norm, relu);
}

static void write_act(FILE *f, const brc_policy *p, const char *name) {
  uint32_t in = p->obs_dim + p->embedding_dim;
  fprintf(f, "static inline void %s_act(const float *obs, int task, float *action) {\n", name);
  fprintf(f, "  float h[%" PRIu32 "];\n", p->width);
  if (p->depth) fprintf(f, "  float r[%" PRIu32 "], y[%" PRIu32 "];\n", p->width, p->width);
  if (p->embedding_dim) {
    fprintf(f,
            "  float x[%" PRIu32 "];\n  for (int i = 0; i < %" PRIu32
            "; i++) x[i] = obs[i];\n"
            "  for (int i = 0; i < %" PRIu32 "; i++) x[%" PRIu32 " + i] = %s_embedding[task * %" PRIu32
            " + i];\n",
            in, p->obs_dim, p->embedding_dim, p->obs_dim, name, p->embedding_dim);
  } else {
    fprintf(f, "  (void)task;\n");
  }
  write_dense_norm(f, p, name, "input", "input_norm", p->embedding_dim ? "x" : "obs", in, "h", 1);
  for (uint32_t i = 0; i < p->depth; i++) {
    char id[4][32];
    for (int k = 0; k < 4; k++)
      snprintf(id[k], sizeof id[k], "block%" PRIu32 "_%s%d", i, k % 2 ? "norm" : "dense", k / 2);
    write_dense_norm(f, p, name, id[0], id[1], "h", p->width, "r", 1);
    write_dense_norm(f, p, name, id[2], id[3], "r", p->width, "y", 0);
    fprintf(f, "  for (int i = 0; i < %" PRIu32 "; i++) h[i] += y[i];\n", p->width);
  }
  fprintf(f, "  %s_dense(h, %" PRIu32 ", %" PRIu32 ", %s_mean_kernel, %s_mean_bias, action);\n", name, p->width,
          p->act_dim, name, name);
  fprintf(f, "  for (int i = 0; i < %" PRIu32 "; i++) action[i] = tanhf(action[i]);\n}\n\n#endif\n",
          p->act_dim);
}

static brc_status check_name(const char *name) {
  bool good = isalpha((unsigned char)*name) || *name == '_';
  for (const char *c = name; *c; c++) good &= isalnum((unsigned char)*c) || *c == '_';
  if (good && strlen(name) < 64) return BRC_OK;
  return brc_fail(BRC_E_USAGE, "option --name: '%s' cannot be a name in C (letters, digits, _; at most 63)",
                  name);
}

brc_status brc_export_c(const brc_policy *p, const char *name, const char *path) {
  brc_status st = check_name(name);
  if (!st && brc_policy_parameters(p) > 1 << 28)  // 4 GiB of text
    st = brc_fail(BRC_E_UNSUPPORTED, "'%s': %" PRIu64 " parameters are too many for a C header; use --onnx",
                  path, brc_policy_parameters(p));
  if (st) return st;
  char *text = NULL;
  size_t bytes = 0;
  FILE *f = open_memstream(&text, &bytes);
  if (!f) return brc_fail(BRC_E_NOMEM, "out of memory for '%s'", path);
  write_head(f, p, name);
  for (uint32_t i = 0; i < p->count; i++) write_table(f, name, &p->tensors[i]);
  write_layers(f, p, name);
  write_act(f, p, name);
  bool bad = ferror(f);
  bad |= fclose(f) != 0;
  st = bad ? brc_fail(BRC_E_NOMEM, "out of memory for '%s'", path) : brc_file_write_all(path, text, bytes);
  free(text);
  return st;
}
