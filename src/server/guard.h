// What is checked of a request before its body is read: headers that must be there once, and who asks.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/options.h"
#include "server/reply.h"

namespace cria::server {

/// The parts of a request that decide; a header has one entry for each time that it is there.
struct RequestHead {
  std::string method, path;
  std::vector<std::string> host, origin, authorization, content_length, transfer_encoding, content_type,
      content_encoding;
};

/// The paths that the server knows, with their methods.
[[nodiscard]] bool is_known_path(std::string_view path, const ServerOptions& options);
[[nodiscard]] bool takes_method(std::string_view path, std::string_view method, const ServerOptions& options);

/// Why a request is refused before its body is read, or nothing.
[[nodiscard]] std::optional<Refusal> refuse_head(const RequestHead& head, const ServerOptions& options);

/// Whether a browser's page of that origin may read answers.
[[nodiscard]] bool allows_origin(std::string_view origin, const ServerOptions& options);

/// ASCII letters in lower case; all else as it is.
[[nodiscard]] std::string lower(std::string_view text);

/// An address or name of this machine that others cannot reach.
[[nodiscard]] bool is_loopback(std::string_view host);

/// In a time that does not tell how much of the two is the same.
[[nodiscard]] bool equal_secrets(std::string_view a, std::string_view b);

}  // namespace cria::server
