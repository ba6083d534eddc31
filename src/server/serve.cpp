#include "server/serve.h"

#include <atomic>
#include <thread>

#include "base/log.h"
#include "base/platform.h"

namespace cria::server {
namespace {

constexpr std::chrono::milliseconds kPoll{50};
/// For telling clients that the device has failed.
constexpr std::chrono::seconds kLastWords{5};

}  // namespace

Status serve(Server& server, engine::Scheduler& scheduler, std::chrono::seconds drain) {
  std::atomic<bool> has_ended = false;
  std::thread listener([&] {
    server.listen();
    scheduler.stop(/*at_once=*/true);  // nobody is left to wait for an answer
    has_ended = true;
  });
  std::thread watcher([&] {
    while (!platform::interrupted() && !has_ended) std::this_thread::sleep_for(kPoll);
    if (has_ended) return;
    log::info("shutting down: answers that have begun have {} s (Ctrl-C again ends at once)", drain.count());
    server.stop(drain);
    scheduler.stop(/*at_once=*/true);
  });
  Status status = scheduler.run();
  if (!status) server.stop(kLastWords);
  watcher.join();
  listener.join();
  return status;
}

}  // namespace cria::server
