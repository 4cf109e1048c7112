// brc train --dry-run: what a run would take, as text or JSON.
#include "cli/cli.h"
#include "cli/dry_run.h"
#include "train/dry_run.h"
#include <math.h>
#include <stdio.h>

static const char *const group_names[] = {"critic", "actor", "temperature"};

static void number(cJSON *o, const char *name, double x) {
  if (isnan(x))
    cJSON_AddNullToObject(o, name);
  else
    cJSON_AddNumberToObject(o, name, x);
}

//------------------------ 1. As JSON ----------------------------------------------
static void add_tasks(cJSON *o, const brc_train_config *c) {
  cJSON *tasks = cJSON_AddArrayToObject(o, "tasks");
  for (size_t i = 0; i < c->task_count; i++) {
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "name", c->tasks[i]->name);
    number(row, "obs_dim", c->tasks[i]->obs_dim);
    number(row, "action_dim", c->tasks[i]->act_dim);
    number(row, "max_steps", c->tasks[i]->max_steps);
    cJSON_AddItemToArray(tasks, row);
  }
}

static void add_device_memory(cJSON *o, const brc_dry_run *r) {
  static const char *const roles[BRC_ROLES] = {"parameters", "gradients", "moment_m", "moment_v", "target"};
  cJSON *parameters = cJSON_AddObjectToObject(o, "parameters"),
        *m = cJSON_AddObjectToObject(o, "device_memory");
  const brc_agent_memory *a = &r->agent;
  for (size_t g = 0; g < BRC_COUNT(group_names); g++) {
    cJSON *group = cJSON_AddObjectToObject(m, group_names[g]);
    number(parameters, group_names[g], (double)a->groups[g].parameters);
    for (int k = 0; k < BRC_ROLES; k++)
      if (a->groups[g].bytes[k]) number(group, roles[k], (double)a->groups[g].bytes[k]);
  }
  number(m, "activations", (double)a->activations);
  number(m, "batch", (double)a->batch);
  number(m, "replay", (double)a->table);
  number(m, "acting", (double)a->acting);
  number(m, "inspect", (double)a->inspect);
  number(m, "evaluation", (double)a->evaluation);
  number(m, "total", (double)r->device_total);
  number(m, "available", (double)r->device_has);
}

static void print_json(const brc_train_config *c, const brc_dry_run *r, bool fits) {
  cJSON *o = cJSON_CreateObject();
  cJSON_AddStringToObject(o, "run", c->run);
  cJSON_AddBoolToObject(o, "fits", fits);
  add_tasks(o, c);
  const struct {
    const char *part, *name;
    double value;
  } rows[] = {{NULL, "obs_dim", (double)c->agent.obs_dim},
              {NULL, "action_dim", (double)c->agent.action_dim},
              {NULL, "batch", (double)c->agent.batch},
              {NULL, "steps", (double)c->steps},
              {"host_memory", "replay", (double)r->replay},
              {"host_memory", "environments", (double)r->environments},
              {"host_memory", "evaluation", (double)r->evaluation},
              {"host_memory", "saving", (double)r->saving},
              {"host_memory", "total", (double)r->host_total},
              {"host_memory", "available", (double)r->host_has},
              {"disk", "state", (double)r->state_file},
              {"disk", "replay", (double)r->rows_file},
              {"disk", "logs", (double)r->logs},
              {"disk", "total", (double)r->disk_total},
              {"disk", "available", (double)r->disk_has},
              {"seconds", "act", r->act_s},
              {"seconds", "env", r->env_s},
              {"seconds", "data", r->data_s},
              {"seconds", "update", r->update_s},
              {"seconds", "evaluation", r->evaluation_s},
              {"seconds", "total", r->total_s}};
  cJSON_AddStringToObject(o, "backend", r->device.backend);
  cJSON_AddStringToObject(o, "device", r->device.name);
  cJSON_AddStringToObject(o, "driver", r->device.driver);
  cJSON_AddStringToObject(o, "why", r->why);
  add_device_memory(o, r);
  for (size_t i = 0; i < BRC_COUNT(rows); i++) {
    cJSON *part = rows[i].part ? cJSON_GetObjectItem(o, rows[i].part) : o;
    number(part ? part : cJSON_AddObjectToObject(o, rows[i].part), rows[i].name, rows[i].value);
  }
  brc_cli_print_json(o);
}

//------------------------ 2. As text ----------------------------------------------
static double mb(uint64_t bytes) { return (double)bytes * 1e-6; }

static void print_duration(double s) {
  if (s >= 86400)
    printf("%.1f days", s / 86400);
  else if (s >= 5400)
    printf("%.1f hours", s / 3600);
  else if (s >= 90)
    printf("%.1f minutes", s / 60);
  else
    printf("%.1f s", s);
}

static void print_memory(const brc_dry_run *r) {
  const brc_agent_memory *a = &r->agent;
  printf("\ndevice memory (MB)%14s %9s %9s %9s %9s\n", "parameters", "gradients", "moments", "target", "count");
  for (size_t g = 0; g < BRC_COUNT(group_names); g++) {
    const uint64_t *b = a->groups[g].bytes;
    printf("  %-22s %8.1f %9.1f %9.1f %9.1f %9llu\n", group_names[g], mb(b[BRC_PARAM]), mb(b[BRC_GRAD]),
           mb(b[BRC_M] + b[BRC_V]), mb(b[BRC_TARGET]), (unsigned long long)a->groups[g].parameters);
  }
  printf("  activations %.1f, batch %.1f, replay %.1f, acting %.1f, inspect %.1f, evaluation %.1f\n",
         mb(a->activations), mb(a->batch), mb(a->table), mb(a->acting), mb(a->inspect), mb(a->evaluation));
  printf("  together %.1f of %.1f\n", mb(r->device_total), mb(r->device_has));
  printf(
      "host memory (MB)\n  replay %.1f, environments %.1f, evaluation %.1f, saving %.1f%s\n  together %.1f of "
      "%.1f free\n",
      mb(r->replay), mb(r->environments), mb(r->evaluation), mb(r->saving),
      r->device.is_cpu ? ", and the device's, which is a CPU" : "", mb(r->host_total), mb(r->host_has));
  printf(
      "disk (MB)\n  state %.1f (twice while it is written), replay %.1f, logs %.1f\n  together %.1f of %.1f "
      "free\n",
      mb(r->state_file), mb(r->rows_file), mb(r->logs), mb(r->disk_total), mb(r->disk_has));
}

static void print_text(const brc_train_config *c, const brc_dry_run *r) {
  printf("%zu task%s on %s (%s)%s%s\n", c->task_count, c->task_count > 1 ? "s" : "", r->device.name,
         r->device.backend, *r->why ? ": " : "", r->why);
  for (size_t i = 0; i < c->task_count; i++)
    printf("  %-28s obs %4d, act %3d, episodes of %d steps\n", c->tasks[i]->name, c->tasks[i]->obs_dim,
           c->tasks[i]->act_dim, c->tasks[i]->max_steps);
  printf("  networks: obs %lld, act %lld, width %lld, actor %lld, batch %lld\n", (long long)c->agent.obs_dim,
         (long long)c->agent.action_dim, (long long)c->agent.width, (long long)c->agent.actor_width,
         (long long)c->agent.batch);
  print_memory(r);
  if (isnan(r->total_s)) return;
  printf(
      "time, as measured now with %d threads\n  a step: acting %.2f ms, environments %.2f, data %.2f, %lld "
      "update%s %.2f\n",
      r->threads, r->act_s * 1e3, r->env_s * 1e3, r->data_s * 1e3, (long long)c->utd, c->utd == 1 ? "" : "s",
      r->update_s * 1e3);
  if (r->evaluation_s > 0) {
    printf("  an evaluation: ");
    print_duration(r->evaluation_s);
    printf("\n");
  }
  printf("  %lld steps: ", (long long)c->steps);
  print_duration(r->total_s);
  printf("\n");
}

brc_status brc_cli_dry_run(const brc_train_config *c) {
  static brc_dry_run r;
  brc_status st = brc_dry_run_measure(&r, c);
  const bool known = r.disk_total > 0;  // else it failed before anything was known
  if (known && c->json) print_json(c, &r, !st);
  if (known && !c->json) print_text(c, &r);
  return st;
}
