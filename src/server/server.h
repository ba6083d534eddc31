// The HTTP server: OpenAI's API on top of the scheduler.
#pragma once

#include <chrono>
#include <memory>
#include <optional>

#include "engine/scheduler.h"
#include "server/options.h"
#include "text/chat_template.h"

namespace cria::server {

/// Errors (kInvalidInput): an address that others can reach, without a key; a key that no header can carry.
Status check_address(const ServerOptions& options);

class Server {
 public:
  /// Binds the address. `chat` is nothing where the model has no template: then chats are refused. Engine and
  /// scheduler must outlive the server, and somebody must run the scheduler.
  /// Errors: kInvalidInput for an address that others can reach without a key, kIo where it cannot be bound.
  static Result<std::unique_ptr<Server>> create(engine::Engine& engine, engine::Scheduler& scheduler,
                                                std::optional<text::ChatTemplate> chat, ServerOptions options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  [[nodiscard]] uint16_t port() const;

  /// Answers requests until stop().
  void listen();
  /// Takes no more jobs, waits until the answers that have begun are whole, but not longer than `limit`, and then makes
  /// listen() return. Answers that are left then end with the scheduler. May be called again, and by several threads.
  void stop(std::chrono::seconds limit);

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cria::server
