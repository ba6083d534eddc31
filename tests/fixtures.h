// Where tests find their fixtures: the project's own copies, what else the shared folder beside the checkout
// holds where there is one, and every folder named in CRIA_FIXTURES=DIR[:DIR].
#pragma once

#include <cstdlib>
#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace cria {

/// The subfolders of KIND ("models", "tokenizers") in all fixture folders, sorted by name; of those with the
/// same name the first found.
inline std::vector<std::filesystem::path> fixture_dirs(std::string_view kind) {
  namespace fs = std::filesystem;
  const fs::path source(CRIA_SOURCE_DIR);
  std::vector<fs::path> roots = {source / "tests" / "golden", source / ".." / "shared" / "data"};
  if (const char* more = std::getenv("CRIA_FIXTURES")) {
    std::istringstream list(more);
    for (std::string folder; std::getline(list, folder, ':');) roots.emplace_back(folder);
  }
  std::map<std::string, fs::path> folders;
  for (const fs::path& root : roots) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(root / kind, ignored)) {
      if (entry.is_directory()) folders.emplace(entry.path().filename().string(), entry.path());
    }
  }
  std::vector<fs::path> sorted;
  for (const auto& [name, path] : folders) sorted.push_back(path);
  return sorted;
}

}  // namespace cria
