/*
 * grids.h - the codebooks of the IQ1, IQ2 and IQ3 formats: which runs of values a code stands for.
 *
 * An entry of IQ1 and IQ2 is eight digits of 2 bits, of IQ3 four of 3 bits; the first value's digit
 * is lowest. What magnitude a digit means is the decoder's (grid_quants.c). Constant data, any
 * thread.
 */
#ifndef MISTRAL_QUANT_GRIDS_H
#define MISTRAL_QUANT_GRIDS_H

#include <stdint.h>

extern const uint16_t grid_iq1_s[2048]; /* of IQ1_M, too */
extern const uint16_t grid_iq2_xxs[256];
extern const uint16_t grid_iq2_xs[512];
extern const uint16_t grid_iq2_s[1024];
extern const uint16_t grid_iq3_xxs[256];
extern const uint16_t grid_iq3_s[512];

#endif
