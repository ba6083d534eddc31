#include "base/error.h"

#include <cstdio>
#include <cstdlib>

namespace cria {

std::string Error::message() const {
  std::string text = sentence_;
  for (size_t i = 0; i < context_.size(); ++i) {
    text += (i == 0 ? " (while " : ", while ") + context_[i];
  }
  if (!context_.empty()) text += ")";
  return text;
}

std::string with_commas(unsigned long long value) {
  std::string digits = std::to_string(value);
  for (int i = static_cast<int>(digits.size()) - 3; i > 0; i -= 3) digits.insert(static_cast<size_t>(i), 1, ',');
  return digits;
}

std::string human_bytes(unsigned long long bytes) {
  if (bytes < 1000) return fmt::format("{} bytes", bytes);
  const char* units[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (value /= 1000.0; value >= 999.95 && unit + 1 < std::size(units); ++unit) value /= 1000.0;
  return fmt::format("{:.1f} {}", value, units[unit]);
}

void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "cria: internal error: %s does not hold at %s:%d\n", condition, file, line);
  std::abort();
}

}  // namespace cria
