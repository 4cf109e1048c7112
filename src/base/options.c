#include "base/options.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *field(const brc_option_set *s, size_t t, const brc_option *o) {
  return (char *)s->tables[t].target + o->offset;
}

// Names match with - and _ alike.
static bool same(const char *a, const char *b) {
  for (; *a && *b; a++, b++)
    if (*a != *b && !((*a == '-' || *a == '_') && (*b == '-' || *b == '_'))) return false;
  return *a == *b;
}

static const brc_option *lookup(const brc_option_set *s, const char *name, size_t *table) {
  for (size_t t = 0; t < s->count; t++)
    for (size_t i = 0; i < s->tables[t].count; i++)
      if (same(s->tables[t].rows[i].name, name)) {
        *table = t;
        return &s->tables[t].rows[i];
      }
  return NULL;
}

static bool allowed(const char *choices, const char *value) {
  size_t n = strlen(value);
  for (const char *c = choices; n && c; c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL)
    if (!strncmp(c, value, n) && (c[n] == '|' || !c[n])) return true;
  return false;
}

static brc_status assign(void *at, const brc_option *o, const char *value) {
  char *end = NULL;
  errno = 0;
  if (o->type == BRC_OPT_FLAG) {
    if (!allowed("true|false|1|0|on|off", value))
      return brc_fail(BRC_E_USAGE, "option --%s: '%s' is not true or false", o->name, value);
    *(bool *)at = allowed("true|1|on", value);
  } else if (o->type == BRC_OPT_TEXT) {
    if (o->choices && !allowed(o->choices, value))
      return brc_fail(BRC_E_USAGE, "option --%s: '%s' is not one of %s", o->name, value, o->choices);
    if (strlen(value) >= BRC_TEXT)
      return brc_fail(BRC_E_USAGE, "option --%s: the value is longer than %d bytes", o->name, BRC_TEXT - 1);
    strcpy(at, value);
  } else {
    double x = strtod(value, &end);
    long long whole = 0;
    bool is_int = o->type == BRC_OPT_INT;
    if (is_int) {  // 5e5 is a fine way to write a step count
      char *int_end = NULL;
      whole = strtoll(value, &int_end, 10);
      if (*int_end) whole = fabs(x) <= 9e15 ? (long long)x : 0;
    }
    if (end == value || *end || isnan(x) || (is_int && (double)whole != x && fabs(x) <= 9e15))
      return brc_fail(BRC_E_USAGE, "option --%s: '%s' is not %s", o->name, value,
                      is_int ? "a whole number" : "a number");
    if (x < o->lo || x > o->hi)
      return brc_fail(BRC_E_USAGE, "option --%s: %s is outside %.15g .. %.15g", o->name, value, o->lo, o->hi);
    if (is_int)
      *(int64_t *)at = whole;
    else
      *(double *)at = x;
  }
  return BRC_OK;
}

void brc_options_default(const brc_option_set *s) {
  for (size_t t = 0; t < s->count; t++)
    for (size_t i = 0; i < s->tables[t].count; i++)
      assign(field(s, t, &s->tables[t].rows[i]), &s->tables[t].rows[i], s->tables[t].rows[i].fallback);
}

static void nearest_names(const brc_option_set *s, const char *name, char *out, size_t bytes) {
  const char *names[256];
  size_t n = 0;
  for (size_t t = 0; t < s->count; t++)
    for (size_t i = 0; i < s->tables[t].count && n < BRC_COUNT(names); i++)
      names[n++] = s->tables[t].rows[i].name;
  brc_nearest(name, names, n, 2, out, bytes);
}

brc_status brc_option_set_text(const brc_option_set *s, const char *name, const char *value) {
  size_t t;
  const brc_option *o = lookup(s, name, &t);
  if (o) return assign(field(s, t, o), o, value);
  char near[256];
  nearest_names(s, name, near, sizeof near);
  return brc_fail(BRC_E_USAGE, "option --%s is unknown%s%s%s", name, *near ? "; did you mean " : "", near,
                  *near ? "?" : "; see --help");
}

brc_status brc_options_parse(const brc_option_set *s, int argc, char **argv, const char **words, size_t max,
                             size_t *count, char *given) {
  *count = 0;
  if (given) *given = 0;
  for (int i = 0; i < argc; i++) {
    if (strncmp(argv[i], "--", 2) || !argv[i][2]) {
      if (argv[i][0] == '-' && argv[i][1])
        return brc_fail(BRC_E_USAGE, "'%s': options are written --name value; see --help", argv[i]);
      if (*count == max) return brc_fail(BRC_E_USAGE, "'%s': too many arguments (at most %zu)", argv[i], max);
      words[(*count)++] = argv[i];
      continue;
    }
    char name[128];
    const char *eq = strchr(argv[i] + 2, '='), *value = eq ? eq + 1 : NULL;
    int n = eq ? (int)(eq - argv[i] - 2) : (int)strlen(argv[i] + 2);
    snprintf(name, sizeof name, "%.*s", n, argv[i] + 2);
    size_t t;
    const brc_option *o = lookup(s, name, &t);
    if (o && o->type == BRC_OPT_FLAG && !value)
      value = "true";
    else if (o && !value) {
      if (i + 1 >= argc) return brc_fail(BRC_E_USAGE, "option --%s needs a value", name);
      value = argv[++i];
    }
    brc_status st = brc_option_set_text(s, name, value ? value : "");
    if (st) return st;
    if (given) snprintf(given + strlen(given), BRC_TEXT - strlen(given), "%s%s", *given ? "," : "", o->name);
  }
  return BRC_OK;
}

bool brc_option_given(const char *given, const char *name) {
  size_t n = strlen(name);
  for (const char *at = given; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
    if (!strncmp(at, name, n) && (at[n] == ',' || !at[n])) return true;
  return false;
}

bool brc_help_is_man;

void brc_man_text(const char *text) {
  bool begins = true;
  for (; *text; text++) {
    if (begins && (*text == '.' || *text == '\'')) fputs("\\&", stdout);
    begins = *text == '\n';
    const char *special = *text == '\\' ? "\\e" : *text == '-' ? "\\-" : *text == '\'' ? "\\(aq" : NULL;
    if (special)
      fputs(special, stdout);
    else
      putchar(*text);
  }
}

static void help_line(const brc_option *o) {
  const char *kind[] = {"N", "X", o->choices ? o->choices : "TEXT", ""};
  char left[96];
  snprintf(left, sizeof left, "--%s %s", o->name, kind[o->type]);
  printf("  %-34s %s", left, o->help);
  if (o->type != BRC_OPT_FLAG && *o->fallback) printf(" [%s]", o->fallback);
  printf("\n");
}

static void man_entry(const brc_option *o) {
  const char *kind[] = {"N", "X", o->choices ? o->choices : "TEXT", ""};
  printf(".TP\n\\fB\\-\\-");
  brc_man_text(o->name);
  printf("\\fR %s", *kind[o->type] ? "\\fI" : "");
  brc_man_text(kind[o->type]);
  printf("%s\n", *kind[o->type] ? "\\fR" : "");
  brc_man_text(o->help);
  if (o->type != BRC_OPT_FLAG && *o->fallback) {
    printf(" [");
    brc_man_text(o->fallback);
    printf("]");
  }
  printf("\n");
}

void brc_options_help(const brc_option_set *s) {
  for (size_t t = 0; t < s->count; t++) {
    printf(brc_help_is_man ? ".PP\n%s:\n" : "\n%s:\n", s->tables[t].title);
    for (size_t i = 0; i < s->tables[t].count; i++)
      (brc_help_is_man ? man_entry : help_line)(&s->tables[t].rows[i]);
  }
}

static void json_name(const brc_option *o, char *out, size_t bytes) {
  snprintf(out, bytes, "%s", o->name);
  for (; *out; out++)
    if (*out == '-') *out = '_';
}

void brc_options_to_json(const brc_option_set *s, cJSON *object) {
  for (size_t t = 0; t < s->count; t++)
    for (size_t i = 0; i < s->tables[t].count; i++) {
      const brc_option *o = &s->tables[t].rows[i];
      void *at = field(s, t, o);
      char name[64];
      json_name(o, name, sizeof name);
      if (o->type == BRC_OPT_INT)
        cJSON_AddNumberToObject(object, name, (double)*(int64_t *)at);
      else if (o->type == BRC_OPT_REAL)
        cJSON_AddNumberToObject(object, name, *(double *)at);
      else if (o->type == BRC_OPT_FLAG)
        cJSON_AddBoolToObject(object, name, *(bool *)at);
      else
        cJSON_AddStringToObject(object, name, at);
    }
}

// The item's value as text, in the form that `assign` takes; NULL if it has another type than the option.
static const char *json_text(const brc_option *o, const cJSON *v, char number[64]) {
  if (o->type == BRC_OPT_FLAG) return !cJSON_IsBool(v) ? NULL : cJSON_IsTrue(v) ? "true" : "false";
  if (o->type == BRC_OPT_TEXT) return cJSON_GetStringValue(v);
  if (!cJSON_IsNumber(v)) return NULL;
  snprintf(number, 64, "%.17g", v->valuedouble);
  return number;
}

static bool listed(const char *const *names, const char *name) {
  while (names && *names && strcmp(*names, name)) names++;
  return names && *names;
}

brc_status brc_options_from_json(const brc_option_set *s, const cJSON *object, const char *const *others) {
  static const char *const kinds[] = {"a number", "a number", "a text", "true or false"};
  const cJSON *v, *w;
  cJSON_ArrayForEach(v, object) {
    if (listed(others, v->string)) continue;
    size_t t;
    char number[64], near[256];
    const brc_option *o = lookup(s, v->string, &t);
    if (!o) {
      nearest_names(s, v->string, near, sizeof near);
      return brc_fail(BRC_E_FORMAT, "the key '%s' is unknown%s%s%s", v->string, *near ? "; did you mean " : "",
                      near, *near ? "?" : "; keys are the options of brc train --help");
    }
    for (w = v->next; w; w = w->next)
      if (same(w->string, v->string)) return brc_fail(BRC_E_FORMAT, "the key '%s' is there twice", v->string);
    const char *value = json_text(o, v, number);
    if (!value) return brc_fail(BRC_E_FORMAT, "the key '%s' must be %s", v->string, kinds[o->type]);
    if (assign(field(s, t, o), o, value)) return brc_fail_prefix(BRC_E_FORMAT, "the key '%s': ", v->string);
  }
  return BRC_OK;
}
