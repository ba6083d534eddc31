// A scheduler of a tiny model, at work in a thread of its own.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "engine/scheduler.h"
#include "gpu/faults.h"
#include "tiny_model.h"

namespace cria::engine {

/// All that becomes of a job, put together.
inline Ticket::News all_of(Ticket& ticket) {
  Ticket::News all;
  while (!all.has_ended) {
    Ticket::News news = ticket.wait(std::chrono::seconds(60));
    if (!news.has_ended && news.tokens.empty()) {
      ADD_FAILURE() << "nothing came for a minute";
      break;
    }
    news.tokens.insert(news.tokens.begin(), all.tokens.begin(), all.tokens.end());
    news.logprobs.insert(news.logprobs.begin(), all.logprobs.begin(), all.logprobs.end());
    all = std::move(news);
  }
  return all;
}

class SchedulerFixture : public testing::Test {
 protected:
  /// Ends what runs, and loads the model for another scheduler, with so many slots. `pages` of the cache: 0 for as many
  /// as the slots can fill.
  void start(uint32_t slots, const SchedulerOptions& options = {}, uint32_t pages = 0) {
    finish(true);
    scheduler_.reset();
    EngineOptions engine_options;
    engine_options.needs_tokenizer = true;
    engine_options.device.validates = false;  // as in the program
    engine_options.model.slots = slots;
    engine_options.model.max_context = 200;
    engine_options.model.cache_positions = pages * kernels::kPageSize;
    engine_ = Engine::load(model_.path(), engine_options).value();
    scheduler_ = Scheduler::create(*engine_, options).value();
  }
  void run() {
    thread_ = std::thread([this] { run_status_ = scheduler_->run(); });
  }
  void finish(bool at_once = false) {
    if (scheduler_) scheduler_->stop(at_once);
    if (thread_.joinable()) thread_.join();
  }
  void TearDown() override {
    gpu::faults::lose_device_at(0);
    gpu::faults::refuse_buffer(0);
    finish(true);
  }

  /// Submits a job, and waits for all that becomes of it.
  Ticket::News answer(Job job) { return all_of(*scheduler_->submit(std::move(job)).value()); }

  const TinyModel model_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Scheduler> scheduler_;
  std::thread thread_;
  Status run_status_;
};

}  // namespace cria::engine
