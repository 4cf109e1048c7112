// Names: flax calls the layers of a module after their types, numbered in the order in which they are made.
//   actor   BroNet_0/..., Dense_0 (mean), Dense_1 (log-std)
//   critic  q_value_ensemble/q_value_ensemble/critic/..., task_embedding/embeddings/embedding
//   BroNet  Dense_0, LayerNorm_0, BronetBlock_i/{Dense,LayerNorm}_{0,1}, Dense_1 (the critic's output)
#include "train/import.h"
#include "base/file.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CRITIC_NET "q_value_ensemble/q_value_ensemble/critic/"
#define ACTOR_NET  "BroNet_0/"
#define EMBEDDING  "task_embedding/embeddings/embedding"

static const struct {
  const char *file, *group, *params;  // names of tensors: PARAMS/LAYER, opt/GROUP/m/LAYER
} nets[BRC_IMPORT_FILES] = {[BRC_IMPORT_ACTOR] = {"actor.txt", "actor", "actor/"},
                            [BRC_IMPORT_CRITIC] = {"critic.txt", "critic", "critic/"},
                            [BRC_IMPORT_TARGET] = {"target_critic.txt", NULL, "target/"},
                            [BRC_IMPORT_TEMP] = {"temp.txt", "log_alpha", ""}};

//------------------------ 1. Names -------------------------------------------------
#define LAYER_BYTES 96
static bool is_leaf(const char *s, const char *one, const char *two) {
  return !strcmp(s, one) || !strcmp(s, two);
}

// "BronetBlock_1/Dense_0/kernel" -> "block1/dense0/kernel"; false if a BroNet has no such layer.
static bool bronet_layer(const char *path, bool output, char out[LAYER_BYTES]) {
  static const struct {
    const char *from, *to;
    bool dense;
  } layers[] = {
      {"Dense_0/", "input/", true}, {"LayerNorm_0/", "input_norm/", false}, {"Dense_1/", "output/", true}};
  static const struct {
    const char *from, *to;
    bool dense;
  } parts[] = {{"Dense_0/", "dense0/", true},
               {"Dense_1/", "dense1/", true},
               {"LayerNorm_0/", "norm0/", false},
               {"LayerNorm_1/", "norm1/", false}};
  unsigned block;
  int used = 0;
  for (size_t i = 0; i < 2u + output; i++) {
    size_t n = strlen(layers[i].from);
    if (strncmp(path, layers[i].from, n)) continue;
    snprintf(out, LAYER_BYTES, "%s%s", layers[i].to, path + n);
    return is_leaf(path + n, "bias", layers[i].dense ? "kernel" : "scale");
  }
  if (sscanf(path, "BronetBlock_%3u/%n", &block, &used) != 1 || !used) return false;
  for (size_t i = 0; i < BRC_COUNT(parts); i++) {
    size_t n = strlen(parts[i].from);
    const char *leaf = path + used + n;
    if (strncmp(path + used, parts[i].from, n)) continue;
    snprintf(out, LAYER_BYTES, "block%u/%s%s", block, parts[i].to, leaf);
    return is_leaf(leaf, "bias", parts[i].dense ? "kernel" : "scale");
  }
  return false;
}

// A parameter's path below "params/" -> the layer's name here; false if the published networks have no such parameter.
static bool layer_name(int net, const char *path, char out[LAYER_BYTES]) {
  if (net == BRC_IMPORT_TEMP) {
    snprintf(out, LAYER_BYTES, "log_alpha");
    return !strcmp(path, "log_temp");
  }
  if (net == BRC_IMPORT_ACTOR) {
    if (!strncmp(path, ACTOR_NET, strlen(ACTOR_NET))) return bronet_layer(path + strlen(ACTOR_NET), false, out);
    bool mean = !strncmp(path, "Dense_0/", 8);
    snprintf(out, LAYER_BYTES, "%s/%s", mean ? "mean" : "log_std", path + (strlen(path) > 8 ? 8 : 0));
    return (mean || !strncmp(path, "Dense_1/", 8)) && is_leaf(path + 8, "kernel", "bias");
  }
  snprintf(out, LAYER_BYTES, "embedding");
  if (!strcmp(path, EMBEDDING)) return true;
  return !strncmp(path, CRITIC_NET, strlen(CRITIC_NET)) && bronet_layer(path + strlen(CRITIC_NET), true, out);
}

// What an array of a file is: parameter, first or second moment, step count.
typedef enum part { PARAM, M, V, COUNT, PARTS } part;
static const char *const part_prefix[] = {"params/", "opt_state/0/mu/", "opt_state/0/nu/", "opt_state/0/count"};

// Its name among our tensors ("opt/critic/m/block0/norm1/scale"); PARTS if the published networks have no such array.
static part tensor_name(int net, const char *path, char out[2 * LAYER_BYTES]) {
  char layer[LAYER_BYTES] = "";
  for (int p = PARAM; p < PARTS; p++) {
    size_t n = strlen(part_prefix[p]);
    if (strncmp(path, part_prefix[p], n)) continue;
    if (p != PARAM && !nets[net].group) return PARTS;
    if (p == COUNT) {
      snprintf(out, 2 * LAYER_BYTES, "opt/%s/count", nets[net].group);
      return path[n] ? PARTS : COUNT;
    }
    if (!layer_name(net, path + n, layer)) return PARTS;
    if (p == PARAM)
      snprintf(out, 2 * LAYER_BYTES, "%s%s", nets[net].params, layer);
    else if (net == BRC_IMPORT_TEMP)
      snprintf(out, 2 * LAYER_BYTES, "opt/log_alpha/%s", p == M ? "m" : "v");
    else
      snprintf(out, 2 * LAYER_BYTES, "opt/%s/%s/%s", nets[net].group, p == M ? "m" : "v", layer);
    return (part)p;
  }
  return PARTS;
}

//------------------------ 2. Open, check -------------------------------------------
// An array as a tensor of ours, to read its elements by.
static brc_st_tensor as_tensor(const brc_flax_array *a) {
  return (brc_st_tensor){.name = a->path, .dtype = a->dtype, .count = a->count, .data = a->data};
}

static brc_status check_array(const brc_flax_file *f, int net, const brc_flax_array *a,
                              size_t counts[PARTS + 1]) {
  char name[2 * LAYER_BYTES];
  part p = tensor_name(net, a->path, name);
  counts[p]++;
  if (p == PARTS)
    return brc_fail(BRC_E_FORMAT, "'%.200s': array '%s' is not of the published %s", brc_flax_path(f), a->path,
                    nets[net].file);
  if (a->dtype != (p == COUNT ? BRC_ST_I32 : BRC_ST_F32) || (p == COUNT && a->count != 1))
    return brc_fail(BRC_E_FORMAT, "'%.200s': array '%s' is not %s", brc_flax_path(f), a->path,
                    p == COUNT ? "one int32" : "of float32");
  const brc_st_tensor t = as_tensor(a);
  for (uint64_t i = 0; i < a->count; i++)
    if (!isfinite(brc_st_get(&t, i)))
      return brc_fail(BRC_E_FORMAT, "'%.200s': array '%s' holds a number that is not finite", brc_flax_path(f),
                      a->path);
  return BRC_OK;
}

// Every array must be known, and an optimiser's state whole or absent.
static brc_status check_file(brc_import *m, int net) {
  const brc_flax_file *f = m->files[net];
  size_t counts[PARTS + 1] = {0};
  brc_status st = BRC_OK;
  for (size_t i = 0; !st && i < brc_flax_count(f); i++) st = check_array(f, net, brc_flax_at(f, i), counts);
  if (st) return st;
  m->moments[net] = counts[M] || counts[V] || counts[COUNT];
  if (m->moments[net] && (counts[M] != counts[PARAM] || counts[V] != counts[PARAM] || counts[COUNT] != 1))
    return brc_fail(
        BRC_E_FORMAT,
        "'%.200s': the optimiser's state is not whole: %zu parameters, %zu and %zu moments, %zu counts",
        brc_flax_path(f), counts[PARAM], counts[M], counts[V], counts[COUNT]);
  return BRC_OK;
}

// Target and critic must hold the same arrays: a missing one would silently become a copy.
static brc_status check_target(const brc_import *m) {
  const brc_flax_file *target = m->files[BRC_IMPORT_TARGET], *critic = m->files[BRC_IMPORT_CRITIC];
  for (size_t i = 0; target && i < brc_flax_count(critic); i++) {
    const char *path = brc_flax_at(critic, i)->path;
    if (!strncmp(path, part_prefix[PARAM], strlen(part_prefix[PARAM])) && !brc_flax_find(target, "%s", path))
      return brc_fail(BRC_E_FORMAT, "'%.200s' lacks array '%s', which the critic has", brc_flax_path(target),
                      path);
  }
  return BRC_OK;
}

// Dimension `axis` of a kernel that must be there with this rank.
static brc_status dimension(const brc_flax_file *f, const char *path, int rank, int axis, uint64_t *out) {
  const brc_flax_array *a = brc_flax_find(f, "params/%s", path);
  if (!a) return brc_fail(BRC_E_FORMAT, "'%.200s' lacks array 'params/%s'", brc_flax_path(f), path);
  if (a->rank != rank)
    return brc_fail(BRC_E_FORMAT, "'%.200s': array '%s' has %d dimensions instead of %d", brc_flax_path(f),
                    a->path, a->rank, rank);
  *out = a->shape[axis];
  return BRC_OK;
}

static uint64_t blocks(const brc_flax_file *f, const char *net) {
  uint64_t n = 0;
  while (brc_flax_find(f, "params/%sBronetBlock_%" PRIu64 "/Dense_0/kernel", net, n)) n++;
  return n;
}

static brc_status infer(brc_import *m) {
  const brc_flax_file *actor = m->files[BRC_IMPORT_ACTOR], *critic = m->files[BRC_IMPORT_CRITIC];
  uint64_t actor_in = 0, critic_in = 0;
  m->tasks = 1;
  m->depth = blocks(critic, CRITIC_NET);
  m->actor_depth = blocks(actor, ACTOR_NET);
  brc_status st = dimension(actor, ACTOR_NET "Dense_0/kernel", 2, 0, &actor_in);
  if (!st) st = dimension(actor, ACTOR_NET "Dense_0/kernel", 2, 1, &m->actor_width);
  if (!st) st = dimension(actor, "Dense_0/kernel", 2, 1, &m->action_dim);
  if (!st) st = dimension(critic, CRITIC_NET "Dense_0/kernel", 3, 0, &m->ensemble);
  if (!st) st = dimension(critic, CRITIC_NET "Dense_0/kernel", 3, 1, &critic_in);
  if (!st) st = dimension(critic, CRITIC_NET "Dense_0/kernel", 3, 2, &m->width);
  if (!st) st = dimension(critic, CRITIC_NET "Dense_1/kernel", 3, 2, &m->atoms);
  if (!st && brc_flax_find(critic, "params/" EMBEDDING)) {
    st = dimension(critic, EMBEDDING, 2, 0, &m->tasks);
    if (!st) st = dimension(critic, EMBEDDING, 2, 1, &m->embedding_dim);
  }
  if (st) return st;
  m->obs_dim = actor_in - m->embedding_dim;
  if (actor_in < m->embedding_dim || critic_in != actor_in + m->action_dim)
    return brc_fail(BRC_E_FORMAT,
                    "'%.200s' and '%.200s' do not belong together: the critic has %" PRIu64
                    " inputs, the actor %" PRIu64 " with %" PRIu64 " actions",
                    brc_flax_path(actor), brc_flax_path(critic), critic_in, actor_in, m->action_dim);
  return BRC_OK;
}

brc_status brc_import_open(brc_import *m, const char *folder) {
  *m = (brc_import){0};
  brc_status st = BRC_OK;
  for (int i = 0; !st && i < BRC_IMPORT_FILES; i++) {
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", folder, nets[i].file) >= (int)sizeof path) {
      st = brc_fail(BRC_E_IO, "'%.200s...': the name is too long", folder);
      break;
    }
    if (i == BRC_IMPORT_TARGET && !brc_path_exists(path)) continue;
    st = brc_flax_open(&m->files[i], path);
    if (st == BRC_E_NOT_FOUND || st == BRC_E_IO)
      st = brc_fail_prefix(
          st, "'%.200s' is no folder of a published checkpoint (actor.txt, critic.txt, temp.txt): ", folder);
    if (!st) st = check_file(m, i);
  }
  if (!st) st = check_target(m);
  if (!st) st = infer(m);
  if (!st) {
    const brc_flax_array *count = brc_flax_find(m->files[BRC_IMPORT_CRITIC], "%s", part_prefix[COUNT]);
    const brc_st_tensor t = count ? as_tensor(count) : (brc_st_tensor){0};
    double steps = count ? brc_st_get(&t, 0) : 0;
    m->adam_steps = steps > 0 ? (uint64_t)steps : 0;
  }
  if (st) brc_import_close(m);
  return st;
}

void brc_import_close(brc_import *m) {
  for (int i = 0; i < BRC_IMPORT_FILES; i++) brc_flax_close(m->files[i]);
  *m = (brc_import){0};
}

//------------------------ 3. Configuration ------------------------------------------
const char *const brc_import_options[] = {"width",    "depth", "actor-width",   "actor-depth",
                                          "ensemble", "atoms", "embedding-dim", NULL};

brc_status brc_import_set_options(const brc_import *m, const brc_option_set *options) {
  const uint64_t values[] = {m->width,    m->depth, m->actor_width,  m->actor_depth,
                             m->ensemble, m->atoms, m->embedding_dim};
  brc_status st = BRC_OK;
  for (int i = 0; !st && brc_import_options[i]; i++) {
    char text[32];
    snprintf(text, sizeof text, "%" PRIu64, values[i]);
    // One task has no embedding: its dimension stays as it is.
    if (m->tasks > 1 || strcmp(brc_import_options[i], "embedding-dim"))
      st = brc_option_set_text(options, brc_import_options[i], text);
  }
  return st ? brc_fail_prefix(BRC_E_FORMAT, "the checkpoint's networks: ") : BRC_OK;
}

brc_status brc_import_fits(const brc_import *m, const brc_agent_config *c) {
  if (m->tasks == (uint64_t)c->tasks && m->obs_dim == (uint64_t)c->obs_dim &&
      m->action_dim == (uint64_t)c->action_dim)
    return BRC_OK;
  return brc_fail(BRC_E_USAGE,
                  "the checkpoint is of %" PRIu64 " task%s with %" PRIu64 " observations and %" PRIu64
                  " actions; the tasks given are %lld with %lld and %lld (the largest of all)",
                  m->tasks, m->tasks == 1 ? "" : "s", m->obs_dim, m->action_dim, (long long)c->tasks,
                  (long long)c->obs_dim, (long long)c->action_dim);
}

//------------------------ 4. Write ---------------------------------------------------
static brc_status add_array(brc_st_writer *w, int net, const brc_flax_array *a) {
  char name[2 * LAYER_BYTES];
  tensor_name(net, a->path, name);
  int rank = a->rank ? a->rank : 1;  // a scalar has the shape [1] in our files
  uint64_t shape[8] = {1};
  if (a->rank) memcpy(shape, a->shape, sizeof shape);
  return brc_st_writer_add(w, name, a->dtype, rank, shape, a->data);
}

brc_status brc_import_write(const brc_import *m, const char *path) {
  brc_st_writer *w;
  brc_status st = brc_st_writer_new(&w);
  if (st) return st;
  for (int net = 0; net < BRC_IMPORT_FILES; net++)
    for (size_t i = 0; !st && m->files[net] && i < brc_flax_count(m->files[net]); i++)
      st = add_array(w, net, brc_flax_at(m->files[net], i));
  if (!st) st = brc_st_write(w, path);
  brc_st_writer_free(w);
  return st;
}
