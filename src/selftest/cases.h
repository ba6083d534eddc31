// What the cases_*.cpp files share. Each adds the cases of some kernels to the list of all_cases().
#pragma once

#include <fmt/format.h>

#include "kernels/matmul_matrix.h"
#include "selftest/selftest.h"

namespace cria::selftest {

void add_attention_cases(const gpu::Device& device, std::vector<Case>& cases);
void add_attention_step_cases(const gpu::Device& device, std::vector<Case>& cases);
void add_bench_cases(const gpu::Device& device, std::vector<Case>& cases);
void add_elementwise_cases(const gpu::Device& device, std::vector<Case>& cases);
void add_embedding_cases(const gpu::Device& device, std::vector<Case>& cases);
void add_matmul_cases(const gpu::Device& device, std::vector<Case>& cases);
void add_matmul_matrix_cases(const gpu::Device& device, std::vector<Case>& cases);
void add_matvec_cases(const gpu::Device& device, std::vector<Case>& cases);
void add_matvec_few_cases(const gpu::Device& device, std::vector<Case>& cases);
void add_matvec_rope_cases(const gpu::Device& device, std::vector<Case>& cases);
void add_norm_cases(const gpu::Device& device, std::vector<Case>& cases);
void add_quantize_cases(const gpu::Device& device, std::vector<Case>& cases);
void add_sampler_cases(const gpu::Device& device, std::vector<Case>& cases);

/// A product on matrix units, one case.
struct MatrixProduct {
  kernels::MatMulSpec spec;
  uint32_t shards = 1;
  kernels::MatMulCut cut;
};
/// All products on matrix units that a device can run; it need not be there.
[[nodiscard]] std::vector<MatrixProduct> matrix_products(const gpu::DeviceInfo& device);

/// Random values, see Random::value().
[[nodiscard]] Table random_table(Random& random, size_t rows, size_t columns);
[[nodiscard]] std::vector<double> random_vector(Random& random, size_t count);
/// Numbers below `bound`.
[[nodiscard]] std::vector<uint32_t> random_indices(Random& random, size_t count, uint32_t bound);

/// Bytes of activations [rows, columns].
[[nodiscard]] uint64_t activation_bytes(uint64_t rows, uint32_t columns);

/// Every type of weights, int8 and int4 with every length of blocks. Matrices of K-quants have whole super-blocks.
[[nodiscard]] std::vector<kernels::WeightFormat> weight_formats();

/// Cuts the rows of a matrix into `parts` shards of different sizes, and into more where a shard would not fit
/// into the device's largest binding. Rows that alternate stay `together`.
[[nodiscard]] std::vector<uint32_t> cut_rows(const gpu::Device& device, uint32_t rows, uint32_t columns,
                                             const kernels::WeightFormat& format, uint32_t parts,
                                             uint32_t together = 1);

}  // namespace cria::selftest
