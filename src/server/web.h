// The page that the server gives to browsers: files of web/, bundled and embedded when Cria is built.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cria::server {

/// A file of the page, as it is and compressed with gzip.
struct WebFile {
  std::string_view path;  ///< that it is served at
  std::string_view type;
  std::string_view hash;  ///< of its content
  std::span<const unsigned char> plain, gzip;
};

/// The page; empty where Cria was built without npm.
[[nodiscard]] std::span<const WebFile> embedded_web();

/// The file at a path, or nullptr.
[[nodiscard]] const WebFile* find_web(std::span<const WebFile> files, std::string_view path);

struct WebAnswer {
  int status = 200;
  std::string_view type;
  std::span<const unsigned char> body;
  std::vector<std::pair<std::string, std::string>> headers;
};

/// The answer to a request with these headers, each as often as it was there: the file in the encoding that the client
/// takes, or 304 where it has it already. The headers let the page use nothing but this server.
[[nodiscard]] WebAnswer answer_web(const WebFile& file, std::span<const std::string> accept_encoding,
                                   std::span<const std::string> if_none_match);

/// What stands in the place of the page where Cria was built without npm.
[[nodiscard]] std::string_view missing_web();

}  // namespace cria::server
