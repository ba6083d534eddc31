// Where tests find their fixtures: the shared folder beside the checkout where there is one, the project's own
// copies otherwise, and every folder named in CRIA_FIXTURES=DIR[:DIR].
#pragma once

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace cria {

/// The subfolders of KIND ("models", "tokenizers") in all fixture folders, sorted by name: the shared ones, the
/// project's own of other names, then all in the folders of CRIA_FIXTURES.
inline std::vector<std::filesystem::path> fixture_dirs(std::string_view kind) {
  namespace fs = std::filesystem;
  const auto subfolders = [&](const fs::path& root) {
    std::map<std::string, fs::path> folders;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(root / kind, ignored)) {
      if (entry.is_directory()) folders.emplace(entry.path().filename().string(), entry.path());
    }
    return folders;
  };
  const fs::path source(CRIA_SOURCE_DIR);
  auto known = subfolders(source / ".." / "shared" / "data");
  known.merge(subfolders(source / "tests" / "golden"));
  std::vector<fs::path> sorted;
  for (const auto& [name, path] : known) sorted.push_back(path);
  if (const char* more = std::getenv("CRIA_FIXTURES")) {
    std::istringstream list(more);
    for (std::string folder; std::getline(list, folder, ':');) {
      for (const auto& [name, path] : subfolders(folder)) sorted.push_back(path);
    }
  }
  return sorted;
}

/// A fixture's name as part of a test's: letters, digits and underscores, with its place where two have one name.
inline std::string fixture_name(const std::vector<std::filesystem::path>& fixtures,
                                const std::filesystem::path& fixture) {
  const auto has_its_name = [&](const auto& other) { return other.filename() == fixture.filename(); };
  std::string name = fixture.filename().string();
  if (const auto first = std::find_if(fixtures.begin(), fixtures.end(), has_its_name); *first != fixture) {
    name += "_" + std::to_string(std::find(first, fixtures.end(), fixture) - fixtures.begin());
  }
  std::replace_if(name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
  return name;
}

}  // namespace cria
