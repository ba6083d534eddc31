#include "quant/compensated_encode.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "quant/block_encode.h"
#include "quant/blocks.h"
#include "quant/q4_0.h"

namespace cria::quant {
namespace {

constexpr int kRounds = 4;
constexpr size_t kTile = 4;  // columns whose derivatives are summed up together

struct Column {
  Lanes weight, integer;
  Lanes error;  // w' - w
  Lanes pull;   // w D: the part of the slope that stays
};
struct Scale {
  Lanes value;
};

/// Eight rows side by side, one in each lane.
struct Rows {
  explicit Rows(size_t count) : columns(count), scales(count / kUnitColumns) {}
  std::vector<Column> columns;
  std::vector<Scale> scales;  ///< one for each 32 columns
};

/// The products of a block's columns of a matrix with what the rows have of all columns.
CRIA_INLINE void multiply(const Rows& rows, Lanes Column::* factor, const float* matrix, size_t first,
                          Lanes* products) {
  const size_t count = rows.columns.size();
  for (size_t at = 0; at < kUnitColumns; at += kTile) {
    Lanes sums[kTile] = {};
    for (size_t c = 0; c < count; ++c) {
      const float* moments = matrix + c * count + first + at;
      for (size_t i = 0; i < kTile; ++i) {
        Lanes moment;
        fill(moment, moments[i]);
        sums[i] += moment * (rows.columns[c].*factor);
      }
    }
    for (size_t i = 0; i < kTile; ++i) products[at + i] = sums[i];
  }
}

CRIA_INLINE void find_pulls(const SecondMoments& inputs, Rows& rows) {
  for (size_t first = 0; first < rows.columns.size(); first += kUnitColumns) {
    Lanes pulls[kUnitColumns];
    multiply(rows, &Column::weight, inputs.drifts(), first, pulls);
    for (size_t i = 0; i < kUnitColumns; ++i) rows.columns[first + i].pull = pulls[i];
  }
}

/// (w' - w) H + w D of a block's columns: half of the derivatives.
CRIA_INLINE void find_slopes(const SecondMoments& inputs, const Rows& rows, size_t first, Lanes* slopes) {
  multiply(rows, &Column::error, inputs.row(0), first, slopes);
  for (size_t i = 0; i < kUnitColumns; ++i) slopes[i] += rows.columns[first + i].pull;
}

/// Adds a change of column `column` of the block to the errors and slopes.
CRIA_INLINE void change(const SecondMoments& inputs, size_t first, size_t column, const Lanes& difference, Rows& rows,
                        Lanes* slopes) {
  rows.columns[first + column].error += difference;
  const float* moments = inputs.row(first + column) + first;
  for (size_t i = 0; i < kUnitColumns; ++i) {
    Lanes moment;
    fill(moment, moments[i]);
    slopes[i] += moment * difference;
  }
}

/// The scale that suits the integers best.
CRIA_INLINE void improve_scale(const SecondMoments& inputs, size_t first, Rows& rows, Lanes* slopes) {
  const Column* columns = &rows.columns[first];
  Lanes& scale = rows.scales[first / kUnitColumns].value;
  const Lanes zero{};
  Lanes slope{};
  Lanes curvature{};
  for (size_t i = 0; i < kUnitColumns; ++i) {
    slope += slopes[i] * columns[i].integer;
    Lanes products{};
    const float* moments = inputs.row(first + i) + first;
    for (size_t j = 0; j < kUnitColumns; ++j) {
      Lanes moment;
      fill(moment, moments[j]);
      products += moment * columns[j].integer;
    }
    curvature += products * columns[i].integer;
  }
  Lanes better;
  select_less(zero, curvature, scale - slope / curvature, scale, better);
  round_to_f16(better);
  const Lanes trouble = better - better;  // NOLINT(misc-redundant-expression): NaN where f16 has no such scale
  Lanes one;
  fill(one, 1);
  select_less(trouble, one, better, scale, better);
  const Lanes difference = better - scale;
  scale = better;
  for (size_t i = 0; i < kUnitColumns; ++i) change(inputs, first, i, difference * columns[i].integer, rows, slopes);
}

CRIA_INLINE void improve_integers(const SecondMoments& inputs, size_t first, Rows& rows, Lanes* slopes) {
  const Lanes scale = rows.scales[first / kUnitColumns].value;
  Lanes inverse = scale;
  invert(inverse);
  Lanes low;
  Lanes high;
  fill(low, -8);
  fill(high, 7);
  for (size_t i = 0; i < kUnitColumns; ++i) {
    Lanes& integer = rows.columns[first + i].integer;
    Lanes square;
    fill(square, inputs.row(first + i)[first + i]);
    Lanes best = integer - slopes[i] / square * inverse;
    clamp(best, low, high);
    round_to_whole(best);
    const Lanes difference = (best - integer) * scale;
    integer = best;
    change(inputs, first, i, difference, rows, slopes);
  }
}

CRIA_PROCESSOR_CLONES void improve(const SecondMoments& inputs, Rows& rows) {
  find_pulls(inputs, rows);
  for (int round = 0; round < kRounds; ++round) {
    for (size_t first = 0; first < rows.columns.size(); first += kUnitColumns) {
      Lanes slopes[kUnitColumns];
      find_slopes(inputs, rows, first, slopes);
      if (round > 0) improve_scale(inputs, first, rows, slopes);
      improve_integers(inputs, first, rows, slopes);
    }
  }
}

/// Takes a row's blocks and the errors that they make; false where one is not storable.
bool take_row(std::span<const float> weights, const std::byte* encoded, size_t lane, Rows& rows) {
  for (size_t at = 0; at < weights.size(); at += kUnitColumns, encoded += sizeof(BlockQ4_0)) {
    BlockQ4_0 block;
    std::memcpy(&block, encoded, sizeof(block));
    const float scale = f16_to_f32(block.scale);
    if (!std::isfinite(scale)) return false;
    int8_t integers[kUnitColumns];
    unpack_int4_unit(block.halves, integers);
    rows.scales[at / kUnitColumns].value[lane] = scale;
    for (size_t i = 0; i < kUnitColumns; ++i) {
      Column& column = rows.columns[at + i];
      column.weight[lane] = weights[at + i];
      column.integer[lane] = integers[i];
      column.error[lane] = scale * static_cast<float>(integers[i]) - weights[at + i];
    }
  }
  return true;
}

void put_row(const Rows& rows, size_t lane, std::byte* encoded) {
  for (size_t b = 0; b < rows.scales.size(); ++b, encoded += sizeof(BlockQ4_0)) {
    BlockQ4_0 block{.scale = f32_to_f16(rows.scales[b].value[lane]), .halves = {}};
    int8_t integers[kUnitColumns];
    for (size_t i = 0; i < kUnitColumns; ++i) {
      integers[i] = static_cast<int8_t>(rows.columns[b * kUnitColumns + i].integer[lane]);
    }
    pack_int4_unit(integers, block.halves);
    std::memcpy(encoded, &block, sizeof(block));
  }
}

}  // namespace

void encode_q4_0_for(const SecondMoments& inputs, std::span<const float> rows, std::byte* out) {
  const size_t columns = inputs.columns();
  const size_t row_bytes = columns / kUnitColumns * sizeof(BlockQ4_0);
  const size_t count = rows.size() / columns;
  encode_q4_0(rows, out);
  for (size_t first = 0; first < count; first += kLanes) {
    Rows lanes(columns);
    const size_t used = std::min(kLanes, count - first);
    bool is_storable[kLanes] = {};
    for (size_t lane = 0; lane < used; ++lane) {
      is_storable[lane] =
          take_row(rows.subspan((first + lane) * columns, columns), out + (first + lane) * row_bytes, lane, lanes);
    }
    improve(inputs, lanes);
    for (size_t lane = 0; lane < used; ++lane) {
      if (is_storable[lane]) put_row(lanes, lane, out + (first + lane) * row_bytes);
    }
  }
}

}  // namespace cria::quant
