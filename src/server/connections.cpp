#include "server/connections.h"

#include "base/platform.h"

namespace cria::server {
namespace {
constexpr std::chrono::milliseconds kWatchInterval{500};
thread_local Connections::Connection* this_threads = nullptr;
}  // namespace

Connections::Connections(std::chrono::seconds limit) : limit_(limit), watcher_([this] { watch(); }) {}

Connections::~Connections() {
  {
    const std::scoped_lock lock(mutex_);
    is_stopping_ = true;
  }
  wake_.notify_all();
  watcher_.join();
}

Connections::Entry::Entry(Connections& all, int socket) : all_(all) {
  const std::scoped_lock lock(all_.mutex_);
  place_ = all_.open_.insert(all_.open_.end(), Connection{.socket = socket});
  connection_ = this_threads = &*place_;
}

Connections::Entry::~Entry() {
  const std::scoped_lock lock(all_.mutex_);
  all_.open_.erase(place_);
  this_threads = nullptr;
}

Connections::Connection& Connections::current() { return *this_threads; }

void Connections::begin_request(Connection& connection) {
  const std::scoped_lock lock(mutex_);
  connection.deadline = Clock::now() + limit_;
  connection.was_routed = connection.must_close = connection.has_unread_body = false;
}

void Connections::end_reading(Connection& connection) {
  const std::scoped_lock lock(mutex_);
  connection.deadline = Clock::time_point::max();
}

size_t Connections::count() const {
  const std::scoped_lock lock(mutex_);
  return open_.size();
}

void Connections::watch() {
  std::unique_lock lock(mutex_);
  while (!is_stopping_) {
    wake_.wait_for(lock, kWatchInterval);
    const auto now = Clock::now();
    for (Connection& connection : open_) {
      if (connection.deadline > now) continue;
      connection.deadline = Clock::time_point::max();
      platform::end_connection(connection.socket);  // its thread finds it closed
    }
  }
}

}  // namespace cria::server
