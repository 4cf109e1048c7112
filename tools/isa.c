// isa [DEVICE]: make every pipeline that acting and updating use on a Vulkan device, and nothing else: no memory, no queue.
// So it works on drivers without their card (tools/isa_check), and with BRC_VULKAN_STATISTICS=1 the backend prints what
// the driver's compiler made of each: registers, spills, shared memory.
#include "agent/agent.h"
#include "backends/vulkan/core.h"
#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

//------------------------ 1. A backend without memory ----------------------------
// Addresses in push constants are never followed.
static brc_status alloc(brc_device *d, const char *name, uint64_t elements, brc_buffer **out) {
  (void)d, (void)name;
  *out = calloc(1, sizeof **out);
  if (!*out) return brc_fail(BRC_E_NOMEM, "out of memory");
  (*out)->elements = elements;
  return BRC_OK;
}

static void release(brc_device *d, brc_buffer *b) {
  (void)d;
  free(b);
}

static brc_status write_nothing(brc_device *d, brc_buffer *b, uint64_t offset, uint64_t elements,
                                const void *data, bool async) {
  (void)d, (void)b, (void)offset, (void)elements, (void)data, (void)async;
  return BRC_OK;
}

static void exec_free(brc_device *d, brc_exec *x) {
  (void)d;
  free(x->steps);
  free(x);
}

static brc_status compile(brc_device *d, const brc_program *p, brc_exec **out) {
  brc_exec *x = calloc(1, sizeof *x);
  if (!x) return brc_fail(BRC_E_NOMEM, "out of memory");
  x->program = p;
  x->device = (vk_device *)d;
  brc_status st = BRC_OK;
  for (size_t i = 0; !st && i < p->op_count; i++) st = vk_ops[p->ops[i]->kind](x, p->ops[i]);
  if (st)
    exec_free(d, x);
  else
    *out = x;
  return st;
}

static const brc_backend pipelines_only = {.name = "vulkan",
                                           .alloc = alloc,
                                           .release = release,
                                           .write = write_nothing,
                                           .compile = compile,
                                           .exec_free = exec_free};

//------------------------ 2. The programs ----------------------------------------
static brc_status make(brc_device *d, brc_precision precision, int64_t width, int64_t tasks) {
  brc_agent_config c;
  brc_option_set set = {.tables = {{brc_agent_options, brc_agent_option_count, &c, "BRC"}}, .count = 1};
  brc_options_default(&set);
  c.width = width;
  c.tasks = tasks;
  c.obs_dim = 223;
  c.action_dim = 38;
  c.target_entropy = NAN;
  brc_agent *agent = NULL;
  brc_actor *actor = NULL;
  brc_status st = brc_agent_config_resolve(&c);
  if (!st) st = brc_agent_create(&agent, &c, d, (brc_agent_flags){.precision = precision, .table_rows = 1000});
  if (!st) st = brc_actor_create(&actor, agent, (uint32_t)tasks, BRC_ACT_SAMPLE, true);
  brc_actor_free(actor);
  brc_agent_free(agent);
  return st;
}

int main(int argc, char **argv) {
  brc_device *d;
  char cache[] = "/tmp/brc-isa.XXXXXX";  // empty: pipelines out of a cache have no statistics
  if (!mkdtemp(cache)) return 1;
  brc_device_options options = {.cache_dir = cache};
  brc_status st = brc_backend_vulkan.open(&d, argc > 1 ? atoi(argv[1]) : 0, &options);
  if (!st) {
    d->backend = &pipelines_only;
    printf("%s, %s\n", d->info.name, d->info.driver);
    // The paper's width, and such that products take smaller tiles; several tasks and one.
    for (int i = 0; !st && i < BRC_PRECISION_COUNT; i++) {
      if (!(d->info.precisions & 1u << i)) continue;
      st = make(d, (brc_precision)i, 4096, 4);
      if (!st) st = make(d, (brc_precision)i, 512, 4);
      if (!st) st = make(d, (brc_precision)i, 256, 1);
    }
    printf("%zu pipelines\n", ((vk_device *)d)->p->pipeline_count);
    d->backend = &brc_backend_vulkan;
  }
  brc_remove_tree(cache);
  if (st) fprintf(stderr, "isa: %s\n", brc_error());
  // The device is not closed: a driver without a card has no queue to wait for.
  return st ? 1 : 0;
}
