// Changes to an MJCF's text before it is compiled, as dm_control makes them with lxml. Knows as much XML as that takes:
// elements, quoted attributes, comments.
#include "envs/mujoco/mj.h"
#ifdef BRC_HAVE_MUJOCO
#include "envs/mujoco/mj_internal.h"

#include <stdlib.h>
#include <string.h>

//------------------------ 1. Elements -----------------------------------------
// [begin, end) of a piece of the text.
typedef struct span {
  const char *begin, *end;
} span;

// From behind '<' to the '>' that closes this tag, quotes respected; NULL where the text ends first.
static const char *tag_end(const char *p) {
  char quote = '\0';
  for (; *p; p++) {
    if (quote) {
      if (*p == quote) quote = '\0';
    } else if (*p == '"' || *p == '\'') {
      quote = *p;
    } else if (*p == '>') {
      return p;
    }
  }
  return NULL;
}

// The next tag at or behind p, comments skipped, without its angle brackets; false at the end of the text.
static bool next_tag(const char *p, span *tag) {
  while ((p = strchr(p, '<'))) {
    if (strncmp(p, "<!--", 4) == 0) {
      p = strstr(p, "-->");
      if (!p) return false;
      continue;
    }
    tag->begin = p + 1;
    tag->end = tag_end(tag->begin);
    return tag->end != NULL;
  }
  return false;
}

static bool starts(span tag, const char *word) {
  size_t n = strlen(word);
  return (size_t)(tag.end - tag.begin) >= n && strncmp(tag.begin, word, n) == 0 &&
         (tag.begin[n] == '>' || tag.begin[n] == '/' || strchr(" \t\r\n", tag.begin[n]));
}

// The value of an attribute inside a tag, without its quotes.
static bool attribute(span tag, const char *name, span *value) {
  size_t n = strlen(name);
  for (const char *p = tag.begin; p < tag.end; p++) {
    if (*p == '"' || *p == '\'') {  // some other attribute's value: skip it
      p = strchr(p + 1, *p);
      continue;
    }
    if (!strchr(" \t\r\n", *p) || strncmp(p + 1, name, n) != 0 || p[n + 1] != '=') continue;
    char quote = p[n + 2];
    value->begin = p + n + 3;
    value->end = strchr(value->begin, quote);
    return quote == '"' || quote == '\'';
  }
  return false;
}

static bool find_element(const char *text, const brc_mj_edit *e, span *tag) {
  for (const char *p = text; next_tag(p, tag); p = tag->end) {
    span name;
    if (starts(*tag, e->tag) && attribute(*tag, "name", &name) &&
        (size_t)(name.end - name.begin) == strlen(e->name) &&
        strncmp(name.begin, e->name, strlen(e->name)) == 0)
      return true;
  }
  return false;
}

// Just behind the element that `tag` opens; NULL if nothing closes it.
static const char *element_end(const char *word, span tag) {
  int depth = 0;
  do {
    if (tag.begin[0] == '/')
      depth -= starts((span){tag.begin + 1, tag.end}, word);
    else if (tag.end[-1] != '/')
      depth += starts(tag, word);
    if (depth == 0) return tag.end + 1;
  } while (next_tag(tag.end, &tag));
  return NULL;
}

//------------------------ 2. Edits --------------------------------------------
// Put `with` in the place of a piece of *text.
static brc_status replace(char **text, span old, const char *with) {
  size_t before = (size_t)(old.begin - *text), n = strlen(with), after = strlen(old.end) + 1;
  char *changed = malloc(before + n + after);
  if (!changed) return brc_fail(BRC_E_NOMEM, "model text");
  memcpy(changed, *text, before);
  memcpy(changed + before, with, n);
  memcpy(changed + before + n, old.end, after);
  free(*text);
  *text = changed;
  return BRC_OK;
}

static brc_status edit(char **text, const brc_mj_edit *e) {
  span tag, value;
  if (!find_element(*text, e, &tag))
    return brc_fail(BRC_E_FORMAT, "no <%s name=\"%s\"> in it: is this the file of the right version?", e->tag,
                    e->name);
  if (e->attribute) {
    if (!attribute(tag, e->attribute, &value))
      return brc_fail(BRC_E_FORMAT, "<%s name=\"%s\"> has no '%s'", e->tag, e->name, e->attribute);
    return replace(text, value, e->value);
  }
  const char *end = element_end(e->tag, tag);
  if (!end) return brc_fail(BRC_E_FORMAT, "<%s name=\"%s\"> is not closed", e->tag, e->name);
  return replace(text, (span){tag.begin - 1, end}, "");
}

brc_status brc_mj_edit_text(char **text, const brc_mj_edit *edits) {
  brc_status st = BRC_OK;
  for (; !st && edits && edits->tag; edits++) st = edit(text, edits);
  return st;
}
#else
typedef int brc_mj_edit_is_empty;
#endif
