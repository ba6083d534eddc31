#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace cria::log {
namespace {

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto created = std::make_shared<spdlog::logger>("cria", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    created->set_pattern("cria: %v");
    created->set_level(spdlog::level::trace);
    return created;
  }();
  return *instance;
}

Level current_level = Level::kInfo;

}  // namespace

void set_level(Level level) { current_level = level; }
Level level() { return current_level; }

void write(Level level, std::string_view message) {
  switch (level) {
    case Level::kDebug: logger().debug("debug: {}", message); break;
    case Level::kInfo: logger().info("{}", message); break;
    case Level::kWarning: logger().warn("warning: {}", message); break;
    case Level::kError: logger().error("error: {}", message); break;
    case Level::kOff: break;
  }
}

}  // namespace cria::log
