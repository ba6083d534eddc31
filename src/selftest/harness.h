// How a case talks to the GPU: buffers in which everything that a kernel must not use is poisoned, and a
// comparison that fails for a wrong element, for NaN, and for any bit written where none belongs.
//
// Poison is NaN in f32, f16 and bf16 and a huge number as an index. Outputs are poisoned as a whole before a
// kernel runs, so that an element it forgets shows; the poison of inputs has other bits than that of
// outputs, so that copied padding shows too. Behind the last element of every buffer stands a tail of poison.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/matrix.h"
#include "selftest/reference.h"

namespace cria::selftest {

/// How the elements of a buffer are stored; of quantised weights see block_image.h and super_block_image.h.
using Element = kernels::WeightType;

/// The smallest normal number of a type: stored values below it may be read as 0.
[[nodiscard]] double smallest_normal(Element type);

enum class Poison : uint32_t { kInput = 0x7FC07FC0, kOutput = 0x7FC17FC1 };

/// Words of poison behind the last element of a buffer.
inline constexpr size_t kTailWords = 64;

/// What a buffer holds, on the CPU: rows of `stride` elements, all poisoned until set.
class Image {
 public:
  Image(Element type, Poison poison, size_t rows, size_t stride);
  /// An image of the same shape with the words that a kernel left behind.
  Image(const Image& shape, std::span<const uint32_t> words);

  /// Stores a value, rounded to the type.
  void set(size_t row, size_t column, double value);
  /// The stored value; NaN for poison.
  [[nodiscard]] double get(size_t row, size_t column) const;
  /// Stores a table's rows and replaces its values by the stored ones.
  void set_rows(Table& table);

  [[nodiscard]] Element type() const { return type_; }
  [[nodiscard]] size_t stride() const { return stride_; }
  /// Elements in the buffer, those of the tail counted.
  [[nodiscard]] size_t elements() const;
  [[nodiscard]] std::span<const uint32_t> words() const { return words_; }

 private:
  Element type_;
  size_t stride_;
  std::vector<uint32_t> words_;
};

/// The elements that a kernel should write. All others must keep every bit.
class Expectation {
 public:
  explicit Expectation(const Image& before) : stride_(before.stride()), elements_(before.elements()) {}

  void set(size_t row, size_t column, double value, double tolerance);
  /// An element that the kernel's header says may be written with anything.
  void ignore(size_t row, size_t column);
  /// All elements of `expected`, its column 0 standing at column `first_column`.
  void set_rows(const Expected& expected, size_t first_column = 0);

  struct Entry {
    double value = 0;
    double tolerance = 0;
    bool ignored = false;
  };
  [[nodiscard]] const std::vector<std::optional<Entry>>& elements() const { return elements_; }

 private:
  std::optional<Entry>& entry(size_t row, size_t column) { return elements_[row * stride_ + column]; }
  size_t stride_;
  std::vector<std::optional<Entry>> elements_;
};

/// What became of a case.
struct CaseOutcome {
  double worst = 0;     ///< the largest error, as a multiple of its tolerance
  std::string failure;  ///< the first thing that is wrong, as a sentence; empty where nothing is
  [[nodiscard]] bool ok() const { return failure.empty(); }
  /// Counts another part of the same case.
  void add(CaseOutcome other);
};

/// Compares the words that a kernel left behind. `name` begins the failure's sentence.
[[nodiscard]] CaseOutcome compare(std::string_view name, const Image& before, std::span<const uint32_t> after,
                                  const Expectation& expectation);

/// The same for words that have only one right value, `expected` having a tail of poison too.
[[nodiscard]] CaseOutcome compare_words(std::string_view name, std::span<const uint32_t> expected,
                                        std::span<const uint32_t> after);

/// A buffer with these words, no tail added.
Result<gpu::Buffer> upload_words(gpu::Device& device, std::string_view name, std::span<const uint32_t> words);
/// A buffer with the image's words.
Result<gpu::Buffer> upload(gpu::Device& device, std::string_view name, const Image& image);
/// Puts the tail of poison behind words.
void add_tail(std::vector<uint32_t>& words);
/// A buffer with u32 words and a tail of poison.
Result<gpu::Buffer> upload(gpu::Device& device, std::string_view name, std::vector<uint32_t> words);

/// All words of a buffer. Errors: kDevice.
Result<std::vector<uint32_t>> download(gpu::Device& device, const gpu::Buffer& buffer);

/// A buffer that a kernel writes, with what it held before.
struct Target {
  std::string name;
  Image before;
  gpu::Buffer buffer;

  static Result<Target> create(gpu::Device& device, std::string_view name, Image before);
  /// Reads the buffer back and compares. Errors: kDevice.
  [[nodiscard]] Result<CaseOutcome> check(gpu::Device& device, const Expectation& expectation) const;
};

/// Activations [table.rows, table.columns] as kernels want them; rounds the table's values to f32 or f16.
Result<kernels::Activation> upload_activation(gpu::Device& device, std::string_view name, Table& table,
                                              Element element = Element::kF32);
/// An image of poisoned activations.
[[nodiscard]] Image activation_image(Poison poison, size_t rows, size_t columns, Element element = Element::kF32);
/// The activation in a target.
[[nodiscard]] kernels::Activation activation_of(const Target& target, size_t columns);
/// f32 values, one row; rounds them to f32.
Result<gpu::Buffer> upload_vector(gpu::Device& device, std::string_view name, std::vector<double>& values);
/// A weight matrix cut into shards of the given rows; rounds the table's values to what the format stores, or replaces
/// them by those of a K-quant (make_up_super_blocks), which alone gives `magnitudes`.
Result<kernels::Matrix> upload_matrix(gpu::Device& device, Table& table, const kernels::WeightFormat& format,
                                      std::span<const uint32_t> shard_rows, Table* magnitudes = nullptr);

}  // namespace cria::selftest
