// Every kernel variant against its CPU reference, over the shapes where kernels go wrong: 1, odd sizes, one
// less and one more than a tile, several tiles, the ends of pages. `cria selftest` and the tests run the same list.
//
// To add a kernel: write its cases in a cases_*.cpp and name that file's function in all_cases(). A test
// fails as long as a shader has no case.
#pragma once

#include <functional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "selftest/harness.h"
#include "selftest/random.h"

namespace cria::selftest {

/// What the body of a case works with.
struct Trial {
  gpu::Device& device;
  const std::string& kernel;
  Random random;  ///< seeded by the case's name

  /// Submits, and makes sure that the last dispatch was of `kernel`. Errors: kDevice.
  [[nodiscard]] Status submit(gpu::Recorder& recorder) const;
};

/// One kernel variant on one shape.
struct Case {
  std::string kernel;  ///< the pipeline's name, for example "matvec_f16_subgroup"
  std::string shape;   ///< for example "rows 5, columns 513, tokens 2, bias"
  /// The largest buffer that the shape binds, the weights not counted: those are cut to fit.
  uint64_t binding_bytes = 0;
  /// Of a kernel that differs from others in numbers only, and takes a software device long to compile: `make test`
  /// leaves it out.
  bool is_extra = false;
  std::function<Result<CaseOutcome>(Trial&)> body;

  [[nodiscard]] Result<CaseOutcome> run(gpu::Device& device) const;
};

/// All cases of the variants that kernels choose on this device, sorted by kernel, less those with buffers
/// beyond its binding limit.
[[nodiscard]] std::vector<Case> all_cases(const gpu::Device& device);

/// Features to mask, one set after the other, so that every fallback is tested on one device.
inline constexpr gpu::FeatureSet kMasks[] = {
    {}, {.f16 = true}, {.subgroups = true}, {.subgroup_matrix = true, .timestamps = true}, gpu::kAllFeatures,
};

/// The names of the kernels that the cases test.
[[nodiscard]] std::set<std::string> kernels_of(std::span<const Case> cases);

/// What became of a kernel variant.
struct KernelReport {
  std::string kernel;
  size_t shapes = 0;
  size_t failed = 0;  ///< shapes that failed
  double worst = 0;   ///< the largest error, as a multiple of its tolerance
  double seconds = 0;
  std::string failure;  ///< the first failed shape, and why; empty where all is well
};

/// Runs the cases, which are sorted by kernel, and hands over each kernel's report when it is done. What the
/// device reports as an error counts as a failure of the shape.
void run_cases(gpu::Device& device, std::span<const Case> cases,
               const std::function<void(const KernelReport&)>& report);

}  // namespace cria::selftest
