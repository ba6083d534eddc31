// Where tests find their fixtures: the shared folder beside the checkout where there is one, otherwise the
// project's own copies, plus every folder named in CRIA_FIXTURES=DIR[:DIR].
#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace cria {

/// The subfolders of KIND ("models", "tokenizers") in all fixture folders, sorted by name.
inline std::vector<std::filesystem::path> fixture_dirs(std::string_view kind) {
  namespace fs = std::filesystem;
  const fs::path source(CRIA_SOURCE_DIR);
  const fs::path shared = source / ".." / "shared" / "data";
  std::vector<fs::path> roots = {fs::is_directory(shared / kind) ? shared : source / "tests" / "golden"};
  if (const char* more = std::getenv("CRIA_FIXTURES")) {
    std::istringstream list(more);
    for (std::string folder; std::getline(list, folder, ':');) roots.emplace_back(folder);
  }
  std::vector<fs::path> folders;
  for (const fs::path& root : roots) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(root / kind, ignored)) {
      if (entry.is_directory()) folders.push_back(entry.path());
    }
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

}  // namespace cria
