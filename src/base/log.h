// Messages for the person at the terminal: always stderr, one line each, prefixed by their level.
#pragma once

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace cria::log {

enum class Level { kDebug, kInfo, kWarning, kError, kOff };

/// Messages below this level are dropped. The default is kInfo.
void set_level(Level level);
[[nodiscard]] Level level();

void write(Level level, std::string_view message);

template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  if (level() <= Level::kDebug) write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  if (level() <= Level::kInfo) write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
  if (level() <= Level::kWarning) write(Level::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  if (level() <= Level::kError) write(Level::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace cria::log
