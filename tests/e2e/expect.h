// What the tests of the program say about an outcome.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "e2e/program.h"

namespace cria::e2e {

/// How often `part` occurs in `text`, overlaps not counted.
inline size_t occurrences(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

inline void expect_holds(std::string_view text, std::string_view part) {
  EXPECT_NE(text.find(part), std::string_view::npos) << "no \"" << part << "\" in: " << text;
}

/// The program ended by itself, and well.
inline void expect_success(const Outcome& outcome) {
  EXPECT_EQ(outcome.exit_code, 0) << "signal " << outcome.signal << ", stderr: " << outcome.err;
}

/// Exit code 2 and, on stderr and nowhere else, one error that holds all the phrases.
inline void expect_refused(const Outcome& outcome, const std::vector<std::string>& phrases) {
  EXPECT_EQ(outcome.exit_code, 2) << "signal " << outcome.signal << ", stderr: " << outcome.err;
  EXPECT_EQ(occurrences(outcome.err, "error: "), 1U) << outcome.err;
  EXPECT_LT(outcome.err.size(), 2000U) << outcome.err;
  for (const std::string& phrase : phrases) expect_holds(outcome.err, phrase);
}

/// Refused before anything was printed.
inline void expect_refused_silently(const Outcome& outcome, const std::vector<std::string>& phrases) {
  expect_refused(outcome, phrases);
  EXPECT_EQ(outcome.out, "");
}

/// Standard output as JSON; null, and a failed test, where it is none.
inline Json json_of(const Outcome& outcome) {
  auto json = parse_json(outcome.out, "stdout");
  EXPECT_TRUE(json) << json.error().message();
  return json ? *json : Json();
}

}  // namespace cria::e2e
