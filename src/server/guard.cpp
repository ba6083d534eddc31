#include "server/guard.h"

#include <algorithm>
#include <charconv>

namespace cria::server {
namespace {

struct Path {
  std::string_view path, method;
  /// A path that ends with / stands for all below it.
  [[nodiscard]] bool holds(std::string_view wanted) const {
    return path == wanted || (path.ends_with('/') && wanted.starts_with(path));
  }
};
constexpr Path kPaths[] = {{"/health", "GET"},         {"/ready", "GET"},
                           {"/metrics", "GET"},        {"/v1/models", "GET"},
                           {"/v1/models/", "GET"},     {"/tokenize", "POST"},
                           {"/detokenize", "POST"},    {"/v1/completions", "POST"},
                           {"/v1/embeddings", "POST"}, {"/v1/chat/completions", "POST"}};

/// Of the page for browsers, or of the text in its place.
bool is_web(std::string_view path, const ServerOptions& options) {
  return options.web && (path == "/" || find_web(*options.web, path) != nullptr);
}

/// The name in HOST[:PORT]; nothing where it is malformed.
std::optional<std::string> host_name(std::string_view host) {
  if (host.starts_with('[')) {
    const size_t end = host.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view rest = host.substr(end + 1);
    if (!rest.empty() && !rest.starts_with(':')) return std::nullopt;
    return lower(host.substr(0, end + 1));
  }
  const size_t colon = host.find(':');
  if (colon != std::string_view::npos && host.find(':', colon + 1) != std::string_view::npos) return std::nullopt;
  const std::string_view name = host.substr(0, colon);
  if (name.empty()) return std::nullopt;
  return lower(name);
}

bool is_address(std::string_view name) {
  if (name.starts_with('[')) return true;
  int parts = 0;
  while (!name.empty()) {
    const std::string_view part = name.substr(0, name.find('.'));
    unsigned value = 0;
    const auto read = std::from_chars(part.data(), part.data() + part.size(), value);
    if (read.ec != std::errc() || read.ptr != part.data() + part.size() || value > 255 || ++parts > 4) return false;
    name.remove_prefix(std::min(name.size(), part.size() + 1));
  }
  return parts == 4;
}

/// An address cannot be another site's name that leads here (DNS rebinding); a name must be listed.
bool allows_host(const std::string& name, const ServerOptions& options) {
  if (name == "localhost" || is_address(name) || name == lower(options.host)) return true;
  return std::ranges::any_of(options.allowed_hosts, [&](const std::string& allowed) { return lower(allowed) == name; });
}

bool is_whole_number(std::string_view text) {
  return !text.empty() && text.size() <= 18 && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

Refusal refuse(int status, std::string message, std::string code) {
  return {.status = status, .message = std::move(message), .code = std::move(code)};
}

/// A body must have one length or be chunked, or others in between may see another request than we do.
std::optional<Refusal> refuse_framing(const RequestHead& head) {
  if (head.content_length.size() + head.transfer_encoding.size() > 1) {
    return refuse(400, "the request has more than one Content-Length or Transfer-Encoding", "bad_framing");
  }
  if (!head.content_length.empty() && !is_whole_number(head.content_length[0])) {
    return refuse(400, "the request's Content-Length is no whole number", "bad_framing");
  }
  if (!head.transfer_encoding.empty() && lower(head.transfer_encoding[0]) != "chunked") {
    return refuse(400, "the request's Transfer-Encoding is not chunked", "bad_framing");
  }
  return std::nullopt;
}

std::optional<Refusal> refuse_sender(const RequestHead& head, const ServerOptions& options) {
  if (head.host.size() != 1) return refuse(400, "the request has not exactly one Host", "bad_host");
  const auto name = host_name(head.host[0]);
  if (!name) return refuse(400, "the request's Host is malformed", "bad_host");
  if (!allows_host(*name, options)) {
    return refuse(
        403, fmt::format("the server does not answer for the host \"{}\" (see --allow-host)", name->substr(0, 100)),
        "host_not_allowed");
  }
  for (const std::string& origin : head.origin) {
    const bool is_own = origin == "http://" + head.host[0];
    if (!is_own && !allows_origin(origin, options)) {
      return refuse(403, "pages of other sites may not use this server (see --cors-origin)", "origin_not_allowed");
    }
  }
  return std::nullopt;
}

std::optional<Refusal> refuse_key(const RequestHead& head, const ServerOptions& options) {
  const bool is_open = head.path == "/health" || head.path == "/ready" || is_web(head.path, options);
  if (options.api_key.empty() || is_open || head.method == "OPTIONS") return std::nullopt;
  constexpr std::string_view kBearer = "Bearer ";
  const bool has_key = head.authorization.size() == 1 && head.authorization[0].starts_with(kBearer);
  const std::string_view given = has_key ? std::string_view(head.authorization[0]).substr(kBearer.size()) : "";
  if (equal_secrets(given, options.api_key)) return std::nullopt;
  return refuse(401, "the request has no valid API key (Authorization: Bearer KEY)", "invalid_api_key");
}

std::optional<Refusal> refuse_body(const RequestHead& head, const ServerOptions& options) {
  if (head.method != "POST") {
    const bool has_body =
        !head.transfer_encoding.empty() || (!head.content_length.empty() && head.content_length[0] != "0");
    if (has_body) return refuse(400, "a request of this method has no body", "unexpected_body");
    return std::nullopt;
  }
  const std::string type = head.content_type.size() == 1 ? lower(head.content_type[0]) : "";
  const std::string_view kind = std::string_view(type).substr(0, type.find(';'));
  if (kind != "application/json" && kind != "application/json ") {
    return refuse(415, "the request's Content-Type must be application/json", "bad_content_type");
  }
  if (!head.content_encoding.empty()) {
    return refuse(415, "the request's body is encoded, which is not supported", "bad_content_encoding");
  }
  if (!head.content_length.empty() && std::stoull(head.content_length[0]) > options.max_body_bytes) {
    return refuse(413,
                  fmt::format("the request's body has {} bytes, and at most {} are taken", head.content_length[0],
                              options.max_body_bytes),
                  "body_too_large");
  }
  return std::nullopt;
}

}  // namespace

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return result;
}

bool is_known_path(std::string_view path, const ServerOptions& options) {
  return is_web(path, options) || std::ranges::any_of(kPaths, [&](const Path& known) { return known.holds(path); });
}

bool takes_method(std::string_view path, std::string_view method, const ServerOptions& options) {
  if (is_web(path, options)) return method == "GET" || method == "HEAD" || method == "OPTIONS";
  return std::ranges::any_of(kPaths, [&](const Path& known) {
    return known.holds(path) &&
           (known.method == method || method == "OPTIONS" || (known.method == "GET" && method == "HEAD"));
  });
}

std::optional<Refusal> refuse_head(const RequestHead& head, const ServerOptions& options) {
  if (auto refusal = refuse_framing(head)) return refusal;
  if (auto refusal = refuse_sender(head, options)) return refusal;
  if (auto refusal = refuse_key(head, options)) return refusal;
  if (!is_known_path(head.path, options)) return refuse(404, "there is nothing at this path", "not_found");
  if (!takes_method(head.path, head.method, options))
    return refuse(405, "this path does not take this method", "method_not_allowed");
  return refuse_body(head, options);
}

bool allows_origin(std::string_view origin, const ServerOptions& options) {
  return std::ranges::any_of(options.allowed_origins,
                             [&](const std::string& allowed) { return allowed == "*" || allowed == origin; });
}

bool is_loopback(std::string_view host) {
  return host == "localhost" || host == "::1" || (host.starts_with("127.") && is_address(host));
}

bool equal_secrets(std::string_view a, std::string_view b) {
  // Always as many steps as the secret is long, whatever is compared with it.
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < b.size(); ++i) {
    const auto other = static_cast<unsigned char>(i < a.size() ? a[i] : 0);
    difference |= static_cast<unsigned>(other ^ static_cast<unsigned char>(b[i]));
  }
  return difference == 0;
}

}  // namespace cria::server
