// Which GEMM provider, in which of its tiles, computes a product: tuning as data. A device that was given a table looks each
// product up while it compiles a program; what is not in the table follows the backend's own rules. The same choices mean the
// same bits, so a run keeps the table that it began with.
#ifndef BRC_CHOICES_H
#define BRC_CHOICES_H
#include "graph/graph.h"
#include <cjson/cJSON.h>

#define BRC_CHOICE_TEXT 32
#define BRC_CHOICES_MAX 256

// One product: C[m,n] = op(A) op(B), sums over k, `members` at once. Its choice is "PROVIDER" or "PROVIDER/TILE".
typedef struct brc_choice {
  uint32_t kind;  // BRC_OP_dense (NN), BRC_OP_dense_dx (NT), BRC_OP_dense_dw (TN)
  uint32_t m, n, k, members, precision;
  char choice[BRC_CHOICE_TEXT];
} brc_choice;

typedef struct brc_choices {
  uint32_t count;
  brc_choice rows[BRC_CHOICES_MAX];
} brc_choices;

// The product of an op (dense, dense_dx, dense_dw), without a choice; false for other ops.
bool brc_choice_of_op(const brc_op *op, brc_choice *out);
bool brc_choice_same_product(const brc_choice *a, const brc_choice *b);
// "NN 1024 x 512 x 512, 2 members, fp32", for messages.
void brc_choice_text(const brc_choice *c, char *out, size_t bytes);
// What a table says of this op's product; NULL without a table, a row, or for other ops.
const char *brc_choices_find(const brc_choices *t, const brc_op *op);
// 16 hex digits that tell tables apart.
void brc_choices_hash(const brc_choices *t, char out[17]);
// Add a row, or replace that of the same product. E_SHAPE when the table is full.
brc_status brc_choices_add(brc_choices *t, const brc_choice *row);
// For backends: the text of a provider's tile, counted from 1 (tile 0: of the provider itself).
void brc_choice_name(const char *provider, const char *const *tiles, uint32_t tile, char out[BRC_CHOICE_TEXT]);
// Is `choice` this provider's? *tile: 1 + the tile's number, 0 where it names none. A tile that is not among them is no match.
bool brc_choice_is(const char *choice, const char *provider, const char *const *tiles, uint32_t *tile);
struct brc_device_info;
// E_UNSUPPORTED: what a table says of this op's product is not there on the device.
brc_status brc_choice_missing(const brc_op *op, const char *choice, const struct brc_device_info *device);
// As a JSON array of rows, and back (E_FORMAT tells what is wrong with which row).
cJSON *brc_choices_to_json(const brc_choices *t);
brc_status brc_choices_from_json(brc_choices *t, const cJSON *array);
#endif
