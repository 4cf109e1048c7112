// brc render: a picture or a video of a task, with a run's policy or without.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/picture.h"
#include "cli/cli.h"
#include "envs/env_impl.h"
#include "envs/mujoco/render.h"
#include "train/train.h"

typedef struct render_options {
  char out[BRC_TEXT], task[BRC_TEXT], size[BRC_TEXT], camera[BRC_TEXT], policy[BRC_TEXT], gl[BRC_TEXT];
  int64_t steps, seed, episode, every;
  double speed;
  bool json;
} render_options;

#define ROW(type, name, field, lo, hi, fallback, choices, help) \
  { name, BRC_OPT_##type, offsetof(render_options, field), lo, hi, fallback, choices, help }
static const brc_option rows[] = {
    ROW(TEXT, "out", out, 0, 0, "", NULL, "the file: .png is a picture, .mp4 a video; default: TASK.mp4"),
    ROW(TEXT, "task", task, 0, 0, "", NULL, "which of a run's tasks, if it has several"),
    ROW(INT, "steps", steps, -1, 1e9, "-1", NULL,
        "control steps; -1: none for a picture, one episode for a video"),
    ROW(TEXT, "policy", policy, 0, 0, "auto", "auto|mean|random|zero",
        "actions; auto: mean, of the run's last checkpoint, or random without a run"),
    ROW(INT, "seed", seed, 0, 9e15, "0", NULL, "seed of the episodes' starts and of random actions"),
    ROW(INT, "episode", episode, 0, 9e15, "0", NULL, "number of the first episode: another start"),
    ROW(TEXT, "size", size, 0, 0, "640x480", NULL, "pixels; even numbers for a video"),
    ROW(TEXT, "camera", camera, 0, 0, "", NULL,
        "a camera's name or number, or free; default: the model's first camera"),
    ROW(INT, "every", every, 1, 1000000, "1", NULL, "a frame of every so many control steps"),
    ROW(REAL, "speed", speed, 0.001, 1000, "1", NULL, "of a video, relative to the task's own time"),
    ROW(TEXT, "gl", gl, 0, 0, "auto", "auto|egl|osmesa",
        "what draws: a GPU (egl), the CPU (osmesa, or egl without a GPU)"),
    ROW(FLAG, "json", json, 0, 0, "false", NULL, "one JSON object")};
#undef ROW

// What is drawn, and who acts in it.
typedef struct scene {
  const render_options *options;
  const char *run, *policy;  // run: NULL without one; policy: resolved
  uint64_t env_steps;        // of the checkpoint
  int width, height;
  bool still;
  brc_env *env;
  struct brc_mj_sim *sim;
  brc_mj_renderer *renderer;
  uint8_t *rgb;
  brc_video *video;
  double *obs;
  float *action;
  brc_env_random random;
  // The policy: observations and actions of the run, padded.
  brc_pool *pool;
  brc_device *device;
  brc_agent *agent;
  brc_actor *actor;
  int32_t row;
  float *wide, *chosen;
  // What came of it.
  uint64_t steps, episodes, frames;
  double fps, reward, success;
} scene;

//------------------------ 1. What the words mean ----------------------------------
static brc_status read_size(const char *text, int *width, int *height) {
  int used = 0;
  if (sscanf(text, "%5dx%5d%n", width, height, &used) == 2 && !text[used] && *width >= 1 && *height >= 1 &&
      *width <= 16384 && *height <= 16384)
    return BRC_OK;
  return brc_fail(BRC_E_USAGE, "option --size: '%s' is no size such as 640x480 (1 to 16384 each)", text);
}

static brc_status read_out(const char *path, bool *still) {
  const char *dot = strrchr(path, '.');
  *still = dot && !strcasecmp(dot, ".png");
  if (*still || (dot && !strcasecmp(dot, ".mp4"))) return BRC_OK;
  return brc_fail(BRC_E_USAGE, "option --out: '%s' ends neither in .png nor in .mp4", path);
}

static brc_status no_task(const brc_env_def *const *tasks, size_t count, const char *what, const char *name) {
  char all[600] = "";
  for (size_t i = 0; i < count && strlen(all) + 40 < sizeof all; i++)
    snprintf(all + strlen(all), sizeof all - strlen(all), "%s%.30s", i ? ", " : "", tasks[i]->name);
  if (*name) return brc_fail(BRC_E_USAGE, "option --task: '%s' has no task '%s'; it has %s", what, name, all);
  return brc_fail(BRC_E_USAGE, "'%s' has several tasks; choose one with --task: %s", what, all);
}

// The task that `word`, a task's, benchmark's or run's name, means together with --task. *row: its number there.
static brc_status choose_task(const char *word, const char *task, bool is_run, brc_train_config *c,
                              int32_t *row) {
  brc_status st = is_run ? brc_run_read_trained(word, c) : brc_train_add_tasks(c, word);
  if (st) return st;
  *row = c->task_count == 1 && !*task ? 0 : -1;
  for (size_t i = 0; i < c->task_count && *task; i++)
    if (!strcmp(c->tasks[i]->name, task)) *row = (int32_t)i;
  return *row >= 0 ? BRC_OK : no_task(c->tasks, c->task_count, word, task);
}

//------------------------ 2. Acting ----------------------------------------------
static brc_status open_policy(scene *s, const brc_train_config *run, const brc_train_config *device) {
  const brc_agent_config *a = &run->agent;
  s->wide = calloc((size_t)a->obs_dim, sizeof *s->wide);
  s->chosen = calloc((size_t)a->action_dim, sizeof *s->chosen);
  brc_status st = s->wide && s->chosen ? BRC_OK : brc_fail(BRC_E_NOMEM, "out of memory");
  if (!st) st = brc_pool_create(&s->pool, (int)device->threads);
  if (!st) st = brc_open_device(device, s->pool, &s->device);
  if (!st) st = brc_agent_create(&s->agent, a, s->device, (brc_agent_flags){0});
  if (!st) st = brc_checkpoint_load_agent(s->agent, s->run, &s->env_steps);
  return st ? st : brc_actor_create(&s->actor, s->agent, 1, BRC_ACT_MEAN, false);
}

static brc_status act(scene *s) {
  const brc_env_def *def = brc_env_def_of(s->env);
  for (int i = 0; i < def->act_dim; i++)
    s->action[i] = !strcmp(s->policy, "random") ? (float)brc_env_uniform(&s->random, -1, 1) : 0;
  if (!s->actor) return BRC_OK;
  for (int i = 0; i < def->obs_dim; i++) s->wide[i] = (float)s->obs[i];
  brc_status st = brc_actor_run(s->actor, BRC_F32, s->wide, &s->row, NULL, 0, s->chosen, NULL);
  for (int i = 0; !st && i < def->act_dim; i++) {
    if (!isfinite(s->chosen[i])) return brc_fail(BRC_E_VALUE, "the policy's action is not finite");
    s->action[i] = fminf(fmaxf(s->chosen[i], -1), 1);
  }
  return st;
}

//------------------------ 3. Drawing ---------------------------------------------
static brc_status reset(scene *s) {
  const render_options *o = s->options;
  return brc_env_reset(s->env, (uint64_t)o->seed, (uint64_t)o->episode + s->episodes, s->obs);
}

static brc_status draw(scene *s) {
  brc_status st = brc_mj_renderer_draw(s->renderer, s->rgb);
  if (!st && s->video) st = brc_video_frame(s->video, s->rgb);
  if (!st) s->frames++;
  return st;
}

// One control step; *ended: the episode has. The first one tells how much time a step is, so the video begins here, with the
// picture drawn before it.
static brc_status step(scene *s, bool *ended) {
  brc_env_result r;
  double before = brc_mj_time(s->sim);
  brc_status st = act(s);
  if (!st) st = brc_env_step(s->env, s->action, s->obs, &r);
  if (st) return st;
  s->steps++;
  s->reward += r.reward;
  s->success = fmax(s->success, r.success);
  *ended = r.terminated || r.truncated;
  if (s->still || s->video) return BRC_OK;
  s->fps = s->options->speed / ((brc_mj_time(s->sim) - before) * (double)s->options->every);
  st = brc_video_begin(&s->video, s->options->out, s->width, s->height, s->fps);
  return st ? st : brc_video_frame(s->video, s->rgb);
}

// Steps to the end of the episode, or as many as asked for, through several episodes.
static brc_status play(scene *s) {
  const render_options *o = s->options;
  const int limit = brc_env_def_of(s->env)->max_steps;
  const bool once = o->steps < 0;
  uint64_t steps = once ? (uint64_t)(s->still ? 0 : limit ? limit : 1000) : (uint64_t)o->steps;
  volatile const int *stop = brc_cli_stop();
  bool ended = false;
  brc_status st = reset(s);
  if (!st && !s->still) st = draw(s);
  while (!st && s->steps < steps && !(once && ended)) {
    if (*stop) return brc_fail(BRC_E_STOPPED, "interrupted; nothing was written");
    if (ended) {
      s->episodes++;
      st = reset(s);
    }
    if (!st) st = step(s, &ended);
    if (!st && !s->still && s->steps % (uint64_t)o->every == 0) st = draw(s);
  }
  return st;
}

// Writes the file, whole or not at all.
static brc_status render(scene *s) {
  brc_status st = play(s);
  if (!st && s->still) st = draw(s);
  if (!st && s->still) return brc_png_write(s->options->out, s->width, s->height, s->rgb);
  if (!st && s->video) {
    st = brc_video_end(s->video);
    s->video = NULL;
  }
  return st;
}

static brc_status open_scene(scene *s, const brc_env_def *def, const brc_assets *assets) {
  const render_options *o = s->options;
  if (!def->simulation)
    return brc_fail(BRC_E_UNSUPPORTED, "task '%s' is not a simulation: there is nothing to see", def->name);
  s->random = brc_env_random_start((uint64_t)o->seed, UINT64_MAX);  // an episode's number that no start has
  s->obs = calloc((size_t)def->obs_dim, sizeof *s->obs);
  s->action = calloc((size_t)def->act_dim, sizeof *s->action);
  s->rgb = malloc((size_t)s->width * (size_t)s->height * 3);
  brc_status st = s->obs && s->action && s->rgb ? BRC_OK : brc_fail(BRC_E_NOMEM, "out of memory");
  if (!st) st = brc_env_create(&s->env, def, assets);
  if (st) return st;
  s->sim = def->simulation(s->env);
  brc_mj_render_options r = {.width = s->width,
                             .height = s->height,
                             .camera = *o->camera ? o->camera : NULL,
                             .gl = strcmp(o->gl, "auto") ? o->gl : NULL};
  return brc_mj_renderer_create(&s->renderer, s->sim, &r);
}

static void close_scene(scene *s) {
  brc_video_abort(s->video);
  brc_mj_renderer_free(s->renderer);
  brc_env_destroy(s->env);
  brc_actor_free(s->actor);
  brc_agent_free(s->agent);
  brc_device_close(s->device);
  brc_pool_destroy(s->pool);
  void *all[] = {s->rgb, s->obs, s->action, s->wide, s->chosen};
  for (size_t i = 0; i < BRC_COUNT(all); i++) free(all[i]);
}

//------------------------ 4. The command -----------------------------------------
static void report(const scene *s, const char *task) {
  const render_options *o = s->options;
  if (!o->json) {
    printf("%s: %s, %s policy, %d x %d, ", o->out, task, s->policy, s->width, s->height);
    if (s->still)
      printf("after %llu steps\n", (unsigned long long)s->steps);
    else
      printf("%llu frames at %.4g a second, return %.3f\n", (unsigned long long)s->frames, s->fps, s->reward);
    return;
  }
  cJSON *r = cJSON_CreateObject();
  cJSON_AddStringToObject(r, "out", o->out);
  cJSON_AddStringToObject(r, "task", task);
  if (s->actor) {
    cJSON_AddStringToObject(r, "run", s->run);
    cJSON_AddNumberToObject(r, "env_steps", (double)s->env_steps);
  }
  cJSON_AddStringToObject(r, "policy", s->policy);
  cJSON_AddNumberToObject(r, "width", s->width);
  cJSON_AddNumberToObject(r, "height", s->height);
  cJSON_AddNumberToObject(r, "frames", (double)s->frames);
  if (!s->still) cJSON_AddNumberToObject(r, "fps", s->fps);
  cJSON_AddNumberToObject(r, "steps", (double)s->steps);
  cJSON_AddNumberToObject(r, "return", s->reward);
  cJSON_AddNumberToObject(r, "success", s->success);
  brc_cli_print_json(r);
}

static brc_status check_policy(scene *s) {
  s->policy = s->options->policy;
  if (!strcmp(s->policy, "auto")) s->policy = s->run ? "mean" : "random";
  if (s->run || strcmp(s->policy, "mean")) return BRC_OK;
  return brc_fail(BRC_E_USAGE, "option --policy: mean is a run's; for a task there are random and zero");
}

brc_status brc_cmd_render(int argc, char **argv) {
  static brc_train_config run, device;
  static render_options o;
  brc_option assets = {"assets", BRC_OPT_TEXT, offsetof(brc_train_config, assets),   0, 0,
                       "",       NULL,         "folder with the environments' files"};
  brc_option_set set = {.tables = {{rows, BRC_COUNT(rows), &o, "Rendering"},
                                   {brc_device_option_rows, brc_device_option_count, &device, "Device"},
                                   {&assets, 1, &device, "Files"}},
                        .count = 3};
  if (brc_cli_help(
          argc, argv,
          "usage: brc render TASK|RUN [options]\n\nDraws a task off-screen with MuJoCo's renderer: "
          "random or no actions for a task, the policy of a run's last\ncheckpoint for a run. Needs EGL "
          "(libegl1, and a GPU's driver or Mesa) or OSMesa (libosmesa6); a video also ffmpeg.\n")) {
    brc_options_help(&set);
    return BRC_OK;
  }
  const char *word;
  size_t count;
  brc_options_default(&set);
  brc_status st = brc_options_parse(&set, argc, argv, &word, 1, &count, NULL);
  if (!st && !count) st = brc_fail(BRC_E_USAGE, "which task or run? usage: brc render TASK|RUN");
  if (st) return st;
  scene s = {.options = &o, .run = !brc_env_find(word) && brc_run_exists(word) ? word : NULL};
  st = choose_task(word, o.task, s.run != NULL, &run, &s.row);
  if (st) return st;
  const brc_env_def *def = run.tasks[s.row];
  if (!*o.out) snprintf(o.out, sizeof o.out, "%s.mp4", def->name);
  if (!st) st = read_out(o.out, &s.still);
  if (!st) st = read_size(o.size, &s.width, &s.height);
  if (!st) st = check_policy(&s);
  if (!st && !s.still && o.steps == 0) st = brc_fail(BRC_E_USAGE, "option --steps: a video takes at least one");
  brc_assets where = {*device.assets ? device.assets : *run.assets ? run.assets : NULL};
  if (!st) st = open_scene(&s, def, &where);
  if (!st && !strcmp(s.policy, "mean")) st = open_policy(&s, &run, &device);
  if (!st) st = render(&s);
  if (!st) report(&s, def->name);
  close_scene(&s);
  return st;
}
