// How the server is set up; the defaults are those of `cria serve`.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "server/web.h"

namespace cria::server {

struct ServerOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 8080;      ///< 0: any that is free
  std::string api_key = {};  ///< empty: none is asked for, which is allowed on loopback addresses only
  std::string model_name = {};
  std::vector<std::string> allowed_hosts = {};       ///< names that Host may have, besides addresses and localhost
  std::vector<std::string> allowed_origins = {};     ///< of browsers' pages of other sites; "*" is any
  std::optional<std::span<const WebFile>> web = {};  ///< the page for browsers; empty: a text in its place
  uint64_t max_body_bytes = 8 << 20;
  uint32_t max_connections = 512;
  uint32_t max_tokens = 4096;     ///< of one answer
  uint32_t request_seconds = 30;  ///< for a request to arrive whole
  uint32_t drain_seconds = 30;    ///< for answers that have begun, when the server ends
};

}  // namespace cria::server
