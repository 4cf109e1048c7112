// The policy as an ONNX model. ONNX is protobuf: a message is a sequence of fields (number, type, value), and the few messages
// that a model needs are written here directly. Field numbers: onnx.proto3.
#include "base/file.h"
#include "train/export.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

//------------------------ 1. Protobuf --------------------------------------------
typedef struct message {
  uint8_t *at;
  size_t used, room;
  bool failed;  // out of memory; sticky
} message;

static void put(message *m, const void *data, size_t n) {
  if (m->used + n > m->room) {
    size_t room = 2 * m->room + n + 256;
    uint8_t *more = m->failed ? NULL : realloc(m->at, room);
    if (!more) {
      m->failed = true;
      return;
    }
    m->at = more;
    m->room = room;
  }
  if (n) memcpy(m->at + m->used, data, n);
  m->used += n;
}

static void put_varint(message *m, uint64_t x) {
  uint8_t bytes[10];
  size_t n = 0;
  for (; x > 127; x >>= 7) bytes[n++] = (uint8_t)(x | 128);
  bytes[n++] = (uint8_t)x;
  put(m, bytes, n);
}

// The types of fields: 0 a varint, 2 bytes with their length in front, 5 four bytes.
static void put_int(message *m, uint32_t field, uint64_t value) {
  put_varint(m, field << 3 | 0);
  put_varint(m, value);
}
static void put_bytes(message *m, uint32_t field, const void *data, size_t n) {
  put_varint(m, field << 3 | 2);
  put_varint(m, n);
  put(m, data, n);
}
static void put_text(message *m, uint32_t field, const char *s) { put_bytes(m, field, s, strlen(s)); }
static void put_float(message *m, uint32_t field, float x) {
  put_varint(m, field << 3 | 5);
  put(m, &x, sizeof x);
}
// A message as a field of another; the inner one is used up.
static void put_message(message *m, uint32_t field, message *inner) {
  put_bytes(m, field, inner->at, inner->used);
  m->failed |= inner->failed;
  free(inner->at);
  *inner = (message){0};
}

//------------------------ 2. Parts of a graph ---------------------------------------
enum {
  ONNX_FLOAT = 1,
  ONNX_INT64 = 7,
  ONNX_ATTRIBUTE_FLOAT = 1,
  ONNX_ATTRIBUTE_INT = 2,
  ONNX_IR_VERSION = 8,
  OPSET = 17
};
enum { MODEL_GRAPH = 7, MODEL_OPSET = 8, MODEL_METADATA = 14 };
enum {
  GRAPH_NODE = 1,
  GRAPH_NAME = 2,
  GRAPH_INITIALIZER = 5,
  GRAPH_DOC = 10,
  GRAPH_INPUT = 11,
  GRAPH_OUTPUT = 12
};

static void put_tensor(message *graph, const brc_policy_tensor *t, bool matrix) {
  message m = {0};
  if (matrix) put_int(&m, 1, t->rows);
  put_int(&m, 1, t->cols);
  put_int(&m, 2, ONNX_FLOAT);
  put_text(&m, 8, t->name);
  put_bytes(&m, 9, t->data, (size_t)t->rows * t->cols * sizeof *t->data);
  put_message(graph, GRAPH_INITIALIZER, &m);
}

// An input or output [N] or [N, cols].
static void put_value(message *graph, uint32_t field, const char *name, int type, uint32_t cols) {
  message value = {0}, kind = {0}, tensor = {0}, shape = {0}, rows = {0}, columns = {0};
  put_text(&rows, 2, "N");
  put_message(&shape, 1, &rows);
  put_int(&columns, 1, cols);
  if (cols)
    put_message(&shape, 1, &columns);
  else
    free(columns.at);
  put_int(&tensor, 1, (uint64_t)type);
  put_message(&tensor, 2, &shape);
  put_message(&kind, 1, &tensor);
  put_text(&value, 1, name);
  put_message(&value, 2, &kind);
  put_message(graph, field, &value);
}

// A node under construction, from words "in in ... > out" of its values' names.
static message node(const char *op, const char *values, ...) BRC_PRINTF(2, 3);
static message node(const char *op, const char *values, ...) {
  char text[512];
  va_list ap;
  va_start(ap, values);
  vsnprintf(text, sizeof text, values, ap);
  va_end(ap);
  message m = {0};
  uint32_t field = 1;
  for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
    if (*word == '>') {
      field = 2;
    } else {
      put_text(&m, field, word);
      if (field == 2) put_text(&m, 3, word);  // a node has the name of its result
    }
  }
  put_text(&m, 4, op);
  return m;
}

static void put_attribute(message *n, const char *name, int type, double value) {
  message m = {0};
  put_text(&m, 1, name);
  if (type == ONNX_ATTRIBUTE_FLOAT)
    put_float(&m, 2, (float)value);
  else
    put_int(&m, 3, (uint64_t)(int64_t)value);
  put_int(&m, 20, (uint64_t)type);
  put_message(n, 5, &m);
}

static void put_node(message *graph, message n) { put_message(graph, GRAPH_NODE, &n); }

//------------------------ 3. The actor ------------------------------------------------
static void put_dense(message *graph, const char *layer, const char *in) {
  put_node(graph, node("Gemm", "%s %s/kernel %s/bias > %s", in, layer, layer, layer));
}

// LayerNorm of `in` with the parameters `layer`; its value has that name.
static void put_norm(message *graph, const brc_policy *p, const char *layer, const char *in) {
  message n = node("LayerNormalization", "%s %s/scale %s/bias > %s", in, layer, layer, layer);
  put_attribute(&n, "axis", ONNX_ATTRIBUTE_INT, -1);
  put_attribute(&n, "epsilon", ONNX_ATTRIBUTE_FLOAT, p->layernorm_eps);
  put_node(graph, n);
}

// h = h + LN(Dense(relu(LN(Dense(h))))), from the value `in` to the value blockI.
static void put_block(message *graph, const brc_policy *p, uint32_t i, const char *in) {
  char name[4][32];
  for (int k = 0; k < 4; k++)
    snprintf(name[k], sizeof name[k], "block%u/%s%d", i, k % 2 ? "norm" : "dense", k / 2);
  put_dense(graph, name[0], in);
  put_norm(graph, p, name[1], name[0]);
  put_node(graph, node("Relu", "%s > block%u/relu", name[1], i));
  char relu[32];
  snprintf(relu, sizeof relu, "block%u/relu", i);
  put_dense(graph, name[2], relu);
  put_norm(graph, p, name[3], name[2]);
  put_node(graph, node("Add", "%s %s > block%u", in, name[3], i));
}

static void put_nodes(message *graph, const brc_policy *p) {
  const char *in = "obs";
  if (p->embedding_dim) {
    put_node(graph, node("Gather", "embedding task > task_embedding"));
    message n = node("Concat", "obs task_embedding > network_input");
    put_attribute(&n, "axis", ONNX_ATTRIBUTE_INT, 1);
    put_node(graph, n);
    in = "network_input";
  }
  put_dense(graph, "input", in);
  put_norm(graph, p, "input_norm", "input");
  put_node(graph, node("Relu", "input_norm > trunk"));
  char h[32] = "trunk";
  for (uint32_t i = 0; i < p->depth; i++) {
    put_block(graph, p, i, h);
    snprintf(h, sizeof h, "block%u", i);
  }
  put_dense(graph, "mean", h);
  put_node(graph, node("Tanh", "mean > action"));
}

static bool is_matrix(const brc_policy_tensor *t) {
  const char *slash = strrchr(t->name, '/');
  return !slash || !strcmp(slash, "/kernel");
}

static message build_graph(const brc_policy *p) {
  message g = {0};
  put_nodes(&g, p);
  put_text(&g, GRAPH_NAME, "policy");
  for (uint32_t i = 0; i < p->count; i++) put_tensor(&g, &p->tensors[i], is_matrix(&p->tensors[i]));
  put_text(&g, GRAPH_DOC,
           p->embedding_dim
               ? "The mean action. A task's observation is filled up with zeros behind its own dimensions; "
                 "of the action, its first dimensions count. Task numbers: metadata 'tasks', from 0."
               : "The mean action.");
  put_value(&g, GRAPH_INPUT, "obs", ONNX_FLOAT, p->obs_dim);
  if (p->embedding_dim) put_value(&g, GRAPH_INPUT, "task", ONNX_INT64, 0);
  put_value(&g, GRAPH_OUTPUT, "action", ONNX_FLOAT, p->act_dim);
  return g;
}

static void put_property(message *model, const char *key, const char *value) {
  message m = {0};
  put_text(&m, 1, key);
  put_text(&m, 2, value);
  put_message(model, MODEL_METADATA, &m);
}

// Lists are joined by commas, one entry per task.
static void put_properties(message *model, const brc_policy *p) {
  char names[256 * 64] = "", obs[256 * 12] = "", act[256 * 12] = "", steps[32];
  for (uint32_t i = 0; i < p->task_count; i++) {
    const char *comma = i ? "," : "";
    size_t n = strlen(names), o = strlen(obs), a = strlen(act);
    snprintf(names + n, sizeof names - n, "%s%s", comma, p->tasks[i]->name);
    snprintf(obs + o, sizeof obs - o, "%s%d", comma, p->tasks[i]->obs_dim);
    snprintf(act + a, sizeof act - a, "%s%d", comma, p->tasks[i]->act_dim);
  }
  snprintf(steps, sizeof steps, "%" PRIu64, p->env_steps);
  put_property(model, "tasks", names);
  put_property(model, "obs_dims", obs);
  put_property(model, "act_dims", act);
  put_property(model, "env_steps", steps);
}

brc_status brc_export_onnx(const brc_policy *p, const char *path) {
  // A message holds less than 2 GiB.
  if (brc_policy_parameters(p) > ((uint64_t)1 << 29) - (1 << 20))
    return brc_fail(BRC_E_UNSUPPORTED,
                    "'%s': the policy's %" PRIu64 " parameters are more than an ONNX file can hold", path,
                    brc_policy_parameters(p));
  message model = {0}, opset = {0}, graph = build_graph(p);
  put_int(&model, 1, ONNX_IR_VERSION);
  put_text(&model, 2, "brc");
  put_text(&model, 3, BRC_VERSION);
  put_message(&model, MODEL_GRAPH, &graph);
  put_text(&opset, 1, "");
  put_int(&opset, 2, OPSET);
  put_message(&model, MODEL_OPSET, &opset);
  put_properties(&model, p);
  brc_status st = model.failed ? brc_fail(BRC_E_NOMEM, "out of memory for '%s'", path)
                               : brc_file_write_all(path, model.at, model.used);
  free(model.at);
  return st;
}
