#include "engine/ticket.h"

#include <utility>

namespace cria::engine {

Ticket::News Ticket::wait(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, limit, [&] { return news_.has_ended || !news_.tokens.empty(); });
  News news = news_;
  news_.tokens.clear();
  news_.logprobs.clear();
  return news;
}

void Ticket::set_embedding(std::vector<float> embedding) {
  const std::scoped_lock lock(mutex_);
  news_.embedding = std::move(embedding);
}

void Ticket::add(uint32_t token, std::optional<TokenLogprobs> logprobs) {
  {
    const std::scoped_lock lock(mutex_);
    news_.tokens.push_back(token);
    if (logprobs) news_.logprobs.push_back(*std::move(logprobs));
  }
  changed_.notify_all();
}

void Ticket::end(StopReason reason) {
  {
    const std::scoped_lock lock(mutex_);
    news_.has_ended = true;
    news_.reason = reason;
  }
  changed_.notify_all();
}

void Ticket::fail(Error error) {
  {
    const std::scoped_lock lock(mutex_);
    news_.has_ended = true;
    news_.error = std::move(error);
  }
  changed_.notify_all();
}

}  // namespace cria::engine
