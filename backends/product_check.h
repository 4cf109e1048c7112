// Are a device's products right? For matrix units, which are off until they were seen to be.
#ifndef BRC_PRODUCT_CHECK_H
#define BRC_PRODUCT_CHECK_H
#include "backends/backend.h"

// A dense layer's three products (nn with a bias, nt added to what is there, tn) with C of batch x m x n and sums over k, in
// `precision`, through the device's own compile and run. Factors are small integers, so that nothing is rounded and the result
// is exact whatever the order of the sums; gradients are scaled as in training. The first factor of nn is shared by all members.
// E_VALUE with the first wrong element if they are wrong.
brc_status brc_check_products(brc_device *d, brc_precision precision, uint32_t m, uint32_t n, uint32_t k,
                              uint32_t batch);
#endif
