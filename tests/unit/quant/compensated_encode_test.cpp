// Blocks that suit a product's inputs change its outputs less than blocks that suit the weights alone.
#include "quant/compensated_encode.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "quant/block_encode.h"
#include "quant/block_formats.h"

namespace cria::quant {
namespace {

constexpr uint32_t kColumns = 96;
constexpr uint32_t kStride = 104;  // rows of activations are padded
constexpr size_t kInputs = 300;
constexpr size_t kRows = 11;  // one whole group of eight, and some

class Numbers {
 public:
  float next() { return static_cast<float>(random_() >> 8) * 0x1p-23F - 1; }
  std::vector<float> many(size_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = next();
    return values;
  }

 private:
  std::mt19937 random_{3};
};

/// Inputs whose columns say nearly the same in groups of four, and NaN where the padding is.
std::vector<float> related_inputs(Numbers& numbers) {
  std::vector<float> inputs(kInputs * kStride, NAN);
  for (size_t t = 0; t < kInputs; ++t) {
    float shared = 0;
    for (uint32_t c = 0; c < kColumns; ++c) {
      if (c % 4 == 0) shared = numbers.next();
      inputs[t * kStride + c] = shared + 0.2F * numbers.next();
    }
  }
  return inputs;
}

/// Inputs that were others, as far from `inputs` as what was quantised before may bring them: some lost, some mixed.
std::vector<float> drifted(const std::vector<float>& inputs) {
  std::vector<float> originals = inputs;
  for (size_t at = 0; at < inputs.size(); ++at) originals[at] = 1.1F * inputs[at] + 0.2F * inputs[at - at % kStride];
  return originals;
}

SecondMoments moments_of(const std::vector<float>& inputs, const std::vector<float>& originals) {
  SecondMoments moments(kColumns);
  const size_t first = 100 * kStride;  // in two parts, as passes bring them
  moments.add(std::span(inputs).first(first), std::span(originals).first(first), kStride);
  moments.add(std::span(inputs).subspan(first), std::span(originals).subspan(first), kStride);
  EXPECT_TRUE(moments.finish());
  return moments;
}
SecondMoments moments_of(const std::vector<float>& inputs) { return moments_of(inputs, inputs); }

using Blocks = std::vector<std::byte>;

Blocks plain(const std::vector<float>& rows) {
  Blocks blocks(rows.size() / 32 * 18);
  encode_q4_0(rows, blocks.data());
  return blocks;
}

Blocks compensated(const SecondMoments& moments, const std::vector<float>& rows) {
  Blocks blocks(rows.size() / 32 * 18);
  encode_q4_0_for(moments, rows, blocks.data());
  return blocks;
}

/// Mean square of what separates the products of blocks and inputs from those of rows and original inputs.
double change_of_outputs(const std::vector<float>& inputs, const std::vector<float>& originals,
                         const std::vector<float>& rows, const Blocks& blocks) {
  std::vector<float> decoded(rows.size());
  find_block_format("Q4_0")->decode(blocks.data(), rows.size() / 32, decoded.data());
  double sum = 0;
  for (size_t row = 0; row < rows.size() / kColumns; ++row) {
    for (size_t t = 0; t < kInputs; ++t) {
      double output = 0;
      for (size_t c = 0; c < kColumns; ++c) {
        const size_t at = row * kColumns + c;
        output += double{decoded[at]} * inputs[t * kStride + c] - double{rows[at]} * originals[t * kStride + c];
      }
      sum += output * output;
    }
  }
  return sum / static_cast<double>(kInputs);
}

TEST(CompensatedEncode, ChangesOutputsLess) {
  Numbers numbers;
  const std::vector<float> inputs = related_inputs(numbers);
  const std::vector<float> rows = numbers.many(kRows * kColumns);
  const SecondMoments moments = moments_of(inputs);
  // Four columns that say the same share their errors: what is left is near a quarter.
  EXPECT_LT(change_of_outputs(inputs, inputs, rows, compensated(moments, rows)),
            0.4 * change_of_outputs(inputs, inputs, rows, plain(rows)));
}

/// Of inputs that have drifted, blocks make up for what can be told from what is left.
TEST(CompensatedEncode, MakesUpForInputsThatDrifted) {
  Numbers numbers;
  const std::vector<float> inputs = related_inputs(numbers);
  const std::vector<float> originals = drifted(inputs);
  const std::vector<float> rows = numbers.many(kRows * kColumns);
  const double blind = change_of_outputs(inputs, originals, rows, compensated(moments_of(inputs), rows));
  const double aware = change_of_outputs(inputs, originals, rows, compensated(moments_of(inputs, originals), rows));
  EXPECT_LT(aware, 0.2 * blind);
}

/// A row's blocks do not depend on the rows that are encoded beside it.
TEST(CompensatedEncode, RowsAreIndependent) {
  Numbers numbers;
  const SecondMoments moments = moments_of(related_inputs(numbers));
  const std::vector<float> rows = numbers.many(kRows * kColumns);
  const Blocks all = compensated(moments, rows);
  const size_t row_bytes = all.size() / kRows;
  for (size_t row = 0; row < kRows; ++row) {
    const auto begin = rows.begin() + static_cast<std::ptrdiff_t>(row * kColumns);
    const Blocks one = compensated(moments, {begin, begin + kColumns});
    EXPECT_EQ(std::memcmp(one.data(), all.data() + row * row_bytes, row_bytes), 0) << row;
  }
}

TEST(CompensatedEncode, WeightsThatFitStayAsTheyAre) {
  Numbers numbers;
  const SecondMoments moments = moments_of(related_inputs(numbers));
  std::vector<float> rows(kColumns);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = 0.125F * (static_cast<float>(i % 16) - 8);
  EXPECT_EQ(compensated(moments, rows), plain(rows));
  EXPECT_EQ(compensated(moments, std::vector<float>(kColumns)), plain(std::vector<float>(kColumns)));
}

TEST(CompensatedEncode, RowsThatCannotBeStoredAreLeftAlone) {
  Numbers numbers;
  const SecondMoments moments = moments_of(related_inputs(numbers));
  std::vector<float> rows = numbers.many(2 * kColumns);
  const std::vector<float> second(rows.begin() + kColumns, rows.end());
  const Blocks alone = compensated(moments, second);
  for (const float bad : {NAN, INFINITY, 1e6F}) {
    rows[40] = bad;
    const Blocks blocks = compensated(moments, rows);
    EXPECT_EQ(std::memcmp(blocks.data(), plain(rows).data(), alone.size()), 0) << bad;
    EXPECT_EQ(std::memcmp(blocks.data() + alone.size(), alone.data(), alone.size()), 0) << bad;
  }
}

TEST(SecondMoments, AreTheMeansOfProducts) {
  Numbers numbers;
  const std::vector<float> inputs = related_inputs(numbers);
  const std::vector<float> originals = drifted(inputs);
  const SecondMoments moments = moments_of(inputs, originals);
  double trace = 0;
  const auto mean = [&](const auto& left, size_t a, size_t b) {
    double sum = 0;
    for (size_t t = 0; t < kInputs; ++t) sum += left(t * kStride + a) * inputs[t * kStride + b];
    return sum / static_cast<double>(kInputs);
  };
  const auto input = [&](size_t at) { return double{inputs[at]}; };
  const auto drift = [&](size_t at) { return double{inputs[at]} - originals[at]; };
  for (size_t c = 0; c < kColumns; ++c) trace += mean(input, c, c);
  for (size_t a = 0; a < kColumns; ++a) {
    for (size_t b = 0; b < kColumns; ++b) {
      const double moment = mean(input, a, b) + (a == b ? 0.1 * trace / kColumns : 0);
      const double tolerance = kInputs * 2 * 0x1p-24;  // sums of f32 of at most 1.44
      EXPECT_NEAR(moments.row(a)[b], moment, tolerance) << a << ", " << b;
      EXPECT_NEAR(moments.drifts()[a * kColumns + b], mean(drift, a, b), tolerance) << a << ", " << b;
    }
  }
}

TEST(SecondMoments, SayWhereInputsAreNotFinite) {
  EXPECT_FALSE(SecondMoments(32).finish()) << "no inputs";
  for (const float bad : {NAN, INFINITY}) {
    SecondMoments moments(32);
    std::vector<float> inputs(64, 1.0F);
    inputs[33] = bad;
    moments.add(inputs, inputs, 32);
    EXPECT_FALSE(moments.finish()) << bad;
  }
}

}  // namespace
}  // namespace cria::quant
