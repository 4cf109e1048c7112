#include "backends/grant.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MOST = 128 };

static const struct {
  const char *name, *vendor;
} variables[] = {
#define X(name, vendor) {#name, vendor},
    BRC_GRANTS(X)
#undef X
};

brc_grants brc_grants_here(void) {
  brc_grants g;
  for (int i = 0; i < BRC_GRANT_COUNT; i++) g.value[i] = getenv(variables[i].name);
  return g;
}

//------------------------ 1. Names of devices -----------------------------------
// "domain:bus:device.function" or without a domain, as one number; -1 if it is none.
static int64_t pci_number(const char *text) {
  unsigned domain = 0, bus, device, function;
  int end = 0;
  if (sscanf(text, "%x:%x:%x.%x%n", &domain, &bus, &device, &function, &end) != 4 || text[end]) {
    domain = 0;
    if (sscanf(text, "%x:%x.%x%n", &bus, &device, &function, &end) != 3 || text[end]) return -1;
  }
  return (int64_t)domain << 16 | (int64_t)(bus & 0xff) << 8 | (device & 0x1f) << 3 | (function & 7);
}

// Digits of a UUID that `text` begins with, all of them: 32 at most; 0 if it is no beginning of one.
static int uuid_digits(const char *text, char out[33]) {
  int n = 0;
  if (!strncasecmp(text, "GPU-", 4)) text += 4;
  for (; *text; text++) {
    if (*text == '-') continue;
    if (!isxdigit((unsigned char)*text) || n == 32) return 0;
    out[n++] = (char)tolower((unsigned char)*text);
  }
  out[n] = 0;
  return n;
}

static bool is_named(const brc_device_info *d, const char *text) {
  const int64_t pci = pci_number(text);
  if (pci >= 0) return *d->pci && pci_number(d->pci) == pci;
  char a[33], b[33];
  const int n = uuid_digits(text, a);
  return n >= 4 && uuid_digits(d->uuid, b) == 32 && !strncmp(a, b, (size_t)n);
}

static bool is_of(const brc_device_info *d, const char *backend) {
  return !backend || !strcmp(d->backend, backend);
}

int brc_device_match(const brc_device_info *d, size_t count, const char *backend, const char *text) {
  int found = -1;
  for (size_t i = 0; i < count; i++) {
    if (!is_of(&d[i], backend) || !is_named(&d[i], text)) continue;
    if (found >= 0 && !strcmp(d[found].backend, d[i].backend)) return -2;
    if (found < 0) found = (int)i;
  }
  return found;
}

static const char *vendor_of(const brc_device_info *d) {
  static const struct {
    const char *part, *vendor;
  } names[] = {
      {"nvidia", "NVIDIA"}, {"advanced micro", "AMD"}, {"amd", "AMD"}, {"radeon", "AMD"}, {"intel", "Intel"}};
  for (size_t i = 0; i < BRC_COUNT(names); i++)
    if (strcasestr(d->vendor, names[i].part)) return names[i].vendor;
  return d->vendor;
}

static bool identified(const brc_device_info *d) { return *d->pci || *d->uuid; }

static bool same_card(const brc_device_info *a, const brc_device_info *b) {
  if (*a->pci && *b->pci) return pci_number(a->pci) == pci_number(b->pci);
  return *a->uuid && !strcasecmp(a->uuid, b->uuid);
}

//------------------------ 2. A vendor's cards -----------------------------------
// Positions of devices, each a card of its own.
typedef struct cards {
  int at[MOST];
  size_t count;
} cards;

static void add_card(cards *c, int i) {
  if (c->count < MOST) c->at[c->count++] = i;
}

static bool has_card(const cards *c, const brc_device_info *d, const brc_device_info *one) {
  for (size_t i = 0; i < c->count; i++)
    if (one == &d[c->at[i]] || same_card(&d[c->at[i]], one)) return true;
  return false;
}

// Over all backends, in the order of PCI addresses. Devices without address and UUID count only where no other is seen, as
// they cannot be told from those; then it is the first backend's that do.
static cards vendor_cards(const brc_device_info *d, size_t count, const char *vendor) {
  cards c = {.count = 0}, nameless = {.count = 0};
  for (size_t i = 0; i < count; i++) {
    if (d[i].is_cpu || strcmp(vendor_of(&d[i]), vendor)) continue;
    if (identified(&d[i]) && !has_card(&c, d, &d[i])) add_card(&c, (int)i);
    if (!identified(&d[i]) && (!nameless.count || is_of(&d[i], d[nameless.at[0]].backend)))
      add_card(&nameless, (int)i);
  }
  if (!c.count) return nameless;
  for (size_t i = 1; i < c.count; i++)
    for (size_t k = i; k && pci_number(d[c.at[k]].pci) < pci_number(d[c.at[k - 1]].pci); k--) {
      int t = c.at[k];
      c.at[k] = c.at[k - 1];
      c.at[k - 1] = t;
    }
  return c;
}

//------------------------ 3. One variable ---------------------------------------
// Split at commas; an entry that begins with '-' ends the list, as in CUDA. Returns how many.
static size_t entries(const char *value, char out[MOST][64]) {
  size_t n = 0;
  while (*value && n < MOST) {
    size_t bytes = strcspn(value, ","), lead = strspn(value, " \t");
    if (lead > bytes) lead = bytes;
    snprintf(out[n], sizeof out[n], "%.*s", (int)(bytes - lead), value + lead);
    out[n][strcspn(out[n], " \t")] = 0;
    value += bytes + (value[bytes] == ',');
    if (*out[n] == '-') break;
    if (*out[n]) n++;
  }
  return n;
}

// "2", or "2.1": a part of device 2. -1: no number.
static long number_of(const char *entry) {
  char *end;
  const long n = strtol(entry, &end, 10);
  return isdigit((unsigned char)*entry) && (!*end || (*end == '.' && isdigit((unsigned char)end[1]))) ? n : -1;
}

// What `value` leaves of `left`, which earlier variables have left of `all`.
static cards apply(const brc_device_info *d, const cards *all, const cards *left, const char *value) {
  static const char *const none[] = {"none", "void", "NoDevFiles"};
  char list[MOST][64];
  const size_t n = entries(value, list);
  cards out = {.count = 0};
  if (n == 1 && !strcasecmp(list[0], "all")) return *left;
  for (size_t i = 0; n == 1 && i < BRC_COUNT(none); i++)
    if (!strcasecmp(list[0], none[i])) return out;
  bool relative = true;
  for (size_t i = 0; i < n; i++) relative &= number_of(list[i]) < (long)left->count;
  size_t found = 0;
  for (size_t i = 0; i < n; i++) {
    const cards *from = relative ? left : all;
    const long number = number_of(list[i]);
    int at = number >= 0 && (size_t)number < from->count ? from->at[number] : -1;
    for (size_t k = 0; number < 0 && at < 0 && k < all->count; k++)
      if (is_named(&d[all->at[k]], list[i])) at = all->at[k];
    found += at >= 0;
    if (at >= 0 && has_card(left, d, &d[at]) && !has_card(&out, d, &d[at])) add_card(&out, at);
  }
  return found < n && n >= all->count ? *left : out;
}

//------------------------ 4. All of them ----------------------------------------
typedef struct granted {
  cards cards;     // in the order of the grant
  bool any;        // a variable is set
  char text[512];  // "CUDA_VISIBLE_DEVICES=1": those that are set
} granted;

static void grant_vendor(granted *g, const brc_device_info *d, size_t count, const brc_grants *env,
                         const char *vendor) {
  const cards all = vendor_cards(d, count, vendor);
  cards left = all;
  bool set = false;
  for (int i = 0; i < BRC_GRANT_COUNT; i++) {
    if (strcmp(variables[i].vendor, vendor) || !env->value[i]) continue;
    set = true;
    snprintf(g->text + strlen(g->text), sizeof g->text - strlen(g->text), "%s%s=%.100s", *g->text ? ", " : "",
             variables[i].name, env->value[i]);
    left = apply(d, &all, &left, env->value[i]);
  }
  g->any |= set;
  for (size_t i = 0; set && i < left.count; i++) add_card(&g->cards, left.at[i]);
  // A device that cannot be told from others is granted where all of its vendor are.
  for (size_t i = 0; set && left.count == all.count && i < count; i++)
    if (!d[i].is_cpu && !identified(&d[i]) && !strcmp(vendor_of(&d[i]), vendor) &&
        !has_card(&g->cards, d, &d[i]))
      add_card(&g->cards, (int)i);
}

static granted read_grants(const brc_device_info *d, size_t count, const brc_grants *env) {
  granted g = {.any = false};
  for (int i = 0; i < BRC_GRANT_COUNT; i++)
    if (!i || strcmp(variables[i].vendor, variables[i - 1].vendor))
      grant_vendor(&g, d, count, env, variables[i].vendor);
  for (size_t i = 0; !g.any && i < count; i++)
    if (!d[i].is_cpu) add_card(&g.cards, (int)i);
  return g;
}

// The granted GPUs of one backend that can be used, in the order of the grant.
static cards usable(const brc_device_info *d, size_t count, const granted *g, const char *backend) {
  cards out = {.count = 0};
  for (size_t k = 0; k < g->cards.count; k++)
    for (size_t i = 0; i < count; i++) {
      const brc_device_info *card = &d[g->cards.at[k]];
      const bool same = &d[i] == card || same_card(&d[i], card);
      if (!d[i].is_cpu && d[i].precisions && is_of(&d[i], backend) && same && !has_card(&out, d, &d[i]))
        add_card(&out, (int)i);
    }
  return out;
}

static void explain(char *why, size_t bytes, const granted *g, const cards *c, int nth) {
  char which[64] = "the only GPU";
  if (c->count > 1 && nth >= 0) snprintf(which, sizeof which, "number %d of %zu GPUs", nth, c->count);
  if (c->count > 1 && nth < 0) snprintf(which, sizeof which, "the one of %zu GPUs with most memory", c->count);
  if (g->any)
    snprintf(why, bytes, "%s granted by %s", which, g->text);
  else
    snprintf(why, bytes, "%s%s", which, c->count > 1 ? "; no scheduler granted any" : "");
}

int brc_device_pick(const brc_device_info *d, size_t count, const brc_grants *env, const char *backend, int nth,
                    char *why, size_t why_bytes) {
  const granted g = read_grants(d, count, env);
  int cpu = -1;
  bool gpus = false;
  for (size_t i = 0; i < count; i++) {
    if (!is_of(&d[i], backend)) continue;
    gpus |= !d[i].is_cpu;
    if (cpu < 0 && d[i].is_cpu && d[i].precisions) cpu = (int)i;
    const cards c = usable(d, count, &g, d[i].backend);
    if (!c.count || (nth >= 0 && (size_t)nth >= c.count)) continue;
    int best = nth >= 0 ? c.at[nth] : c.at[0];
    for (size_t k = 1; nth < 0 && k < c.count; k++)
      if (d[c.at[k]].memory_bytes > d[best].memory_bytes) best = c.at[k];
    explain(why, why_bytes, &g, &c, nth);
    return best;
  }
  const char *who = g.any ? g.text : "there";
  if (!gpus)
    snprintf(why, why_bytes, "there is no GPU");
  else
    snprintf(why, why_bytes, "%s %s", who,
             nth > 0 ? g.any ? "grants fewer GPUs" : "are fewer GPUs"
             : g.any ? "grants none of the GPUs here"
                     : "is no GPU that can be used");
  return backend && nth <= 0 ? cpu : -1;
}

//------------------------ 5. What options name ----------------------------------
static size_t list_devices(const char *backend, brc_device_info *out) {
  size_t n = 0;
  for (size_t b = 1; brc_backends[b]; b++) {
    size_t more = 0;
    if ((backend && strcmp(backend, brc_backends[b]->name)) || brc_backends[b]->list(out + n, MOST - n, &more))
      continue;
    n += more < MOST - n ? more : MOST - n;
  }
  return n;
}

static brc_status unknown_backend(const char *name) {
  char have[128] = "auto";
  for (size_t i = 0; brc_backends[i]; i++)
    snprintf(have + strlen(have), sizeof have - strlen(have), ", %s", brc_backends[i]->name);
  return brc_fail(BRC_E_NOT_FOUND, "backend '%s' is not in this build; there are: %s", name, have);
}

static brc_status select_auto(const char *backend, int nth, const brc_backend **out, int *index, char *why,
                              size_t why_bytes) {
  static brc_device_info d[MOST];
  const brc_grants env = brc_grants_here();
  bool set = false;
  for (int i = 0; i < BRC_GRANT_COUNT; i++) set |= env.value[i] != NULL;
  // Another backend's devices tell which cards there are, where this one's driver hides some.
  const size_t count = list_devices(set ? NULL : backend, d);
  const int at = brc_device_pick(d, count, &env, backend, nth, why, why_bytes);
  if (at >= 0) {
    *out = brc_backend_find(d[at].backend);
    *index = d[at].index;
    return BRC_OK;
  }
  if (!backend && nth <= 0) {
    *out = &brc_backend_host;
    return BRC_OK;
  }
  if (backend) {
    size_t own = 0;
    brc_status st = (*out)->list(d, MOST, &own);
    if (st) return st;
    if (!own || !set) return BRC_OK;  // opening tells what is missing
    return brc_fail(BRC_E_NOT_FOUND,
                    "option --device auto: backend %s: %s; name one with --device (brc devices)", backend, why);
  }
  return brc_fail(BRC_E_NOT_FOUND, "option --device %d: there is no such GPU for --backend auto: %s", nth, why);
}

brc_status brc_device_select(const char *backend, const char *device, const brc_backend **out, int *index,
                             char *why, size_t why_bytes) {
  static brc_device_info d[MOST];
  const char *only = strcmp(backend, "auto") ? backend : NULL;
  char *end;
  *why = 0;
  *index = 0;
  *out = only ? brc_backend_find(only) : NULL;
  if (only && !*out) return unknown_backend(only);
  const long number = strtol(device, &end, 10);
  if (!strcmp(device, "auto")) {
    if (*out == &brc_backend_host) return BRC_OK;
    return select_auto(only, -1, out, index, why, why_bytes);
  }
  if (end != device && !*end && number >= 0 && number < 4096) {
    if (!only) return select_auto(NULL, (int)number, out, index, why, why_bytes);
    *index = (int)number;
    return BRC_OK;
  }
  const int at = brc_device_match(d, list_devices(only, d), only, device);
  if (at < 0)
    return brc_fail(
        BRC_E_NOT_FOUND,
        "option --device: '%s' is %s of backend %s (auto, a number, PCI address or UUID; see brc devices)",
        device, at == -2 ? "the beginning of several devices' UUID" : "no device", backend);
  *out = brc_backend_find(d[at].backend);
  *index = d[at].index;
  return BRC_OK;
}
