#include "grammar/json_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <vector>

namespace cria::grammar {
namespace {

struct Shared {
  std::string_view name, rule;
};
/// Rules that schemas share, each written where it is used.
constexpr Shared kShared[] = {
    {"value", "object | array | string | number | boolean | null"},
    {"object", R"("{" ws (member (comma member)* ws)? "}")"},
    {"array", R"("[" ws (value (comma value)* ws)? "]")"},
    {"member", "string colon value"},
    {"string", R"("\"" char* "\"")"},
    {"char", R"([^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | code))"},
    // \u escapes of characters, or of both halves of one.
    {"code", R"("u" ([0-9a-cA-CefEF] hex{3} | [dD] ([0-7] hex{2} | [89abAB] hex{2} "\\u" [dD] [c-fC-F] hex{2})))"},
    {"hex", "[0-9a-fA-F]"},
    {"number", R"(integer ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?)"},
    {"integer", R"("-"? ("0" | [1-9] [0-9]{0,15}))"},
    {"boolean", R"("true" | "false")"},
    {"null", R"("null")"},
    {"colon", R"(":" " "?)"},
    {"comma", R"("," ws)"},
    {"ws", R"((" " | "\n" " "{0,40})?)"},
};

constexpr Shared kFormats[] = {
    {"format-date-time", "format-date \"T\" format-time"},
    {"format-date",
     R"([0-9]{4} "-" (("0" [13578] | "1" [02]) "-" ("0" [1-9] | [12] [0-9] | "3" [01]) | )"
     R"(("0" [469] | "11") "-" ("0" [1-9] | [12] [0-9] | "30") | "02-" ("0" [1-9] | "1" [0-9] | "2" [0-8])))"},
    {"format-time", R"(([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,9})? )"
                    R"(("Z" | [-+] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9]))"},
    {"format-duration",
     R"("P" ([0-9]{1,9} "W" | dur-time | [0-9]{1,9} "Y" ([0-9]{1,9} "M" ([0-9]{1,9} "D")?)? dur-time? | )"
     R"([0-9]{1,9} "M" ([0-9]{1,9} "D")? dur-time? | [0-9]{1,9} "D" dur-time?))"},
    {"format-uuid", "hex{8} \"-\" hex{4} \"-\" hex{4} \"-\" hex{4} \"-\" hex{12}"},
    {"format-ipv4", R"(octet "." octet "." octet "." octet)"},
    {"format-hostname", R"(label ("." label){0,8})"},
    {"format-email", R"([a-zA-Z0-9_+-]{1,32} ("." [a-zA-Z0-9_+-]{1,32}){0,4} "@" label ("." label){1,8})"},
    {"format-uri", R"([a-zA-Z] [a-zA-Z0-9+.-]{0,15} ":" ("//" label ("." label){0,8} (":" [1-9] [0-9]{0,3})? )"
                   R"(("/" uri-char*)? | ([a-zA-Z0-9_.~!$&'()*+,;=:@-] | "%" hex{2})+) ("#" uri-char*)?)"},
};
constexpr Shared kOfFormats[] = {
    {"dur-time", R"("T" ([0-9]{1,9} "H" ([0-9]{1,9} "M" ([0-9]{1,9} "S")?)? | [0-9]{1,9} "M" ([0-9]{1,9} "S")? | )"
                 R"([0-9]{1,9} "S"))"},
    {"uri-char", R"([a-zA-Z0-9_.~!$&'()*+,;=:@/?-] | "%" hex{2})"},
    {"octet", R"("25" [0-5] | "2" [0-4] [0-9] | "1" [0-9] [0-9] | [1-9]? [0-9])"},
    {"label", R"([a-zA-Z0-9] ([a-zA-Z0-9-]{0,30} [a-zA-Z0-9])?)"},
};

/// Whether rules name another one.
bool uses(std::string_view rules, std::string_view name) {
  const auto is_part = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-'; };
  for (size_t at = rules.find(name); at != std::string_view::npos; at = rules.find(name, at + 1)) {
    const size_t end = at + name.size();
    const bool begins = at == 0 || !is_part(rules[at - 1]);
    if (begins && (end == rules.size() || !is_part(rules[end]))) return true;
  }
  return false;
}

}  // namespace

std::string shared_rules(std::string_view rules) {
  std::string text;
  std::vector<Shared> rest(std::begin(kShared), std::end(kShared));
  rest.insert(rest.end(), std::begin(kFormats), std::end(kFormats));
  rest.insert(rest.end(), std::begin(kOfFormats), std::end(kOfFormats));
  const auto take = [&](const Shared& shared) {
    if (!uses(rules, shared.name) && !uses(text, shared.name)) return false;
    text += fmt::format("{} ::= {}\n", shared.name, shared.rule);
    return true;
  };
  while (std::erase_if(rest, take) > 0) {
  }
  return text;
}

bool has_format(std::string_view name) {
  return std::ranges::any_of(kFormats, [&](const Shared& known) { return known.name.substr(7) == name; });
}

}  // namespace cria::grammar
