#include "grammar/json_numbers.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace cria::grammar {
namespace {

std::string digits(char first, char last) {
  return first == last ? fmt::format("\"{}\"", first) : fmt::format("[{}-{}]", first, last);
}

std::string any_digits(size_t count) {
  if (count == 0) return "";
  return count == 1 ? " [0-9]" : fmt::format(" [0-9]{{{}}}", count);
}

std::string joined(const std::vector<std::string>& alternatives) {
  return fmt::format("{}", fmt::join(alternatives, " | "));
}

/// Numbers of as many digits as `least` and `most` have, which are as many: by the first digit.
std::string of_equal_length(const std::string& least, const std::string& most) {
  const size_t rest = least.size() - 1;
  const bool from_zeros = least.find_first_not_of('0', 1) == std::string::npos;
  const bool to_nines = most.find_first_not_of('9', 1) == std::string::npos;
  if (rest == 0 || (from_zeros && to_nines)) return digits(least[0], most[0]) + any_digits(rest);
  if (least[0] == most[0]) {
    return fmt::format("\"{}\" ({})", least[0], of_equal_length(least.substr(1), most.substr(1)));
  }
  std::vector<std::string> alternatives;
  char first = least[0];
  char last = most[0];
  if (!from_zeros) {
    alternatives.push_back(
        fmt::format("\"{}\" ({})", first++, of_equal_length(least.substr(1), std::string(rest, '9'))));
  }
  if (!to_nines) {
    alternatives.push_back(fmt::format("\"{}\" ({})", last--, of_equal_length(std::string(rest, '0'), most.substr(1))));
  }
  if (first <= last) alternatives.push_back(digits(first, last) + any_digits(rest));
  return joined(alternatives);
}

/// From `least` to `most`, neither negative.
std::string without_sign(uint64_t least, uint64_t most) {
  std::vector<std::string> alternatives;
  std::string low = fmt::format("{}", least);
  const std::string high = fmt::format("{}", most);
  for (; low.size() < high.size(); low = "1" + std::string(low.size(), '0')) {
    alternatives.push_back(of_equal_length(low, std::string(low.size(), '9')));
  }
  alternatives.push_back(of_equal_length(low, high));
  return joined(alternatives);
}

/// The size of a negative number.
uint64_t size_of(int64_t value) { return uint64_t{0} - static_cast<uint64_t>(value); }

std::string with_fraction(uint64_t least, uint64_t most) {
  std::string whole = fmt::format("\"{}\" (\".\" \"0\"{{1,16}})?", most);
  if (least == most) return whole;
  return fmt::format("({}) (\".\" [0-9]{{1,16}})? | {}", without_sign(least, most - 1), whole);
}

}  // namespace

std::string integers_between(int64_t least, int64_t most) {
  std::vector<std::string> alternatives;
  if (least < 0) {
    const uint64_t smallest = most < 0 ? size_of(most) : 1;
    alternatives.push_back(fmt::format("\"-\" ({})", without_sign(smallest, size_of(least))));
  }
  if (most >= 0) {
    alternatives.push_back(
        without_sign(static_cast<uint64_t>(std::max<int64_t>(least, 0)), static_cast<uint64_t>(most)));
  }
  return joined(alternatives);
}

std::string numbers_between(int64_t least, int64_t most) {
  std::vector<std::string> alternatives;
  if (least < 0) {
    alternatives.push_back(fmt::format("\"-\" ({})", with_fraction(most < 0 ? size_of(most) : 0, size_of(least))));
  }
  if (most >= 0) {
    alternatives.push_back(
        with_fraction(static_cast<uint64_t>(std::max<int64_t>(least, 0)), static_cast<uint64_t>(most)));
  }
  return joined(alternatives);
}

}  // namespace cria::grammar
