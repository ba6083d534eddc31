#include "server/web.h"

#include <algorithm>
#include <charconv>

#include "server/guard.h"

namespace cria::server {
namespace {

/// Scripts and styles come from files of this server only, and no script may turn text into HTML.
constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

std::string_view trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

/// Whether the function holds for an entry of lists that are separated by commas.
template <typename Function>
bool any_entry(std::span<const std::string> lists, const Function& function) {
  for (std::string_view rest : lists) {
    while (!rest.empty()) {
      const size_t end = std::min(rest.find(','), rest.size());
      if (function(trimmed(rest.substr(0, end)))) return true;
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  }
  return false;
}

/// An entry NAME[;q=WEIGHT]; a weight of 0 refuses, and so does one that is malformed.
bool takes_gzip(std::string_view entry) {
  const size_t end = std::min(entry.find(';'), entry.size());
  const std::string name = lower(trimmed(entry.substr(0, end)));
  if (name != "gzip" && name != "x-gzip") return false;
  if (end == entry.size()) return true;
  const std::string_view weight = trimmed(entry.substr(end + 1));
  double value = 0;
  if (!weight.starts_with("q=") && !weight.starts_with("Q=")) return false;
  const auto read = std::from_chars(weight.data() + 2, weight.data() + weight.size(), value);
  return read.ec == std::errc() && read.ptr == weight.data() + weight.size() && value > 0;
}

}  // namespace

const WebFile* find_web(std::span<const WebFile> files, std::string_view path) {
  const auto found = std::ranges::find(files, path, &WebFile::path);
  return found == files.end() ? nullptr : &*found;
}

WebAnswer answer_web(const WebFile& file, std::span<const std::string> accept_encoding,
                     std::span<const std::string> if_none_match) {
  const bool is_gzip = any_entry(accept_encoding, takes_gzip);
  // Each encoding is a text of its own to caches.
  const std::string tag = '"' + std::string(file.hash) + (is_gzip ? "-gzip\"" : "\"");
  WebAnswer answer{.type = file.type,
                   .body = is_gzip ? file.gzip : file.plain,
                   .headers = {{"ETag", tag},
                               {"Vary", "Accept-Encoding"},
                               // Kept, and asked for again each time: so a page is never older than its server.
                               {"Cache-Control", "no-cache"},
                               {"Content-Security-Policy", kPolicy},
                               {"X-Content-Type-Options", "nosniff"},
                               {"X-Frame-Options", "DENY"},
                               {"Referrer-Policy", "no-referrer"},
                               {"X-DNS-Prefetch-Control", "off"},
                               {"Cross-Origin-Opener-Policy", "same-origin"},
                               {"Cross-Origin-Resource-Policy", "same-origin"}}};
  const bool is_known = any_entry(if_none_match, [&](std::string_view entry) {
    if (entry.starts_with("W/")) entry.remove_prefix(2);
    return entry == tag || entry == "*";
  });
  if (is_known) {
    answer.status = 304;
    answer.body = {};
  } else if (is_gzip) {
    answer.headers.emplace_back("Content-Encoding", "gzip");
  }
  return answer;
}

std::string_view missing_web() {
  return "This server answers OpenAI's API (docs/server.md); its page for browsers was left out when Cria was built,\n"
         "because npm was not found or could not fetch the page's packages. To have it, install Node.js 18 or newer "
         "with\n"
         "npm, run cmake again (cmake --preset release) and build again (make run).\n";
}

}  // namespace cria::server
