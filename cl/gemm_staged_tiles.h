// The tiles of gemm_amd.cl and gemm_intel.cl.
#define TILE_M  128
#define TILE_N  128
#define NAME(x) x##_128x128
#include "cl/gemm_staged_tile.h"

#define TILE_M  128
#define TILE_N  64
#define NAME(x) x##_128x64
#include "cl/gemm_staged_tile.h"

#define TILE_M  64
#define TILE_N  64
#define NAME(x) x##_64x64
#include "cl/gemm_staged_tile.h"
