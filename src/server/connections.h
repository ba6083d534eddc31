// Connections that are open, and a thread that ends those whose requests do not arrive in time.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>

namespace cria::server {

class Connections {
 public:
  using Clock = std::chrono::steady_clock;

  struct Connection {
    int socket = -1;
    Clock::time_point deadline = Clock::time_point::max();  ///< for the request to be whole
    bool was_routed = false;                                ///< its head was read and taken
    bool must_close = false;                                ///< after this answer
    bool has_unread_body = false;                           ///< of which more may still arrive
  };

  explicit Connections(std::chrono::seconds limit);
  ~Connections();
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  /// Registers a connection for as long as it lives, as that of this thread.
  class Entry {
   public:
    Entry(Connections& all, int socket);
    ~Entry();
    Entry(const Entry&) = delete;
    Entry& operator=(const Entry&) = delete;
    Connection& operator*() const { return *connection_; }
    Connection* operator->() const { return connection_; }

   private:
    Connections& all_;
    std::list<Connection>::iterator place_;
    Connection* connection_;
  };

  /// The connection whose request this thread deals with.
  [[nodiscard]] static Connection& current();

  void begin_request(Connection& connection);
  void end_reading(Connection& connection);
  [[nodiscard]] size_t count() const;

 private:
  void watch();

  std::chrono::seconds limit_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::list<Connection> open_;
  bool is_stopping_ = false;
  std::thread watcher_;
};

}  // namespace cria::server
