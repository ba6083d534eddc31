// Serving until somebody ends it: the threads of `cria serve`.
#pragma once

#include "server/server.h"

namespace cria::server {

/// Runs the scheduler on this thread, which owns the device, and the server on another, until Ctrl-C or a termination
/// request (platform::interrupted): then answers that have begun have `drain` to come to their end.
/// Errors: those of Scheduler::run; clients have been told when it returns.
Status serve(Server& server, engine::Scheduler& scheduler, std::chrono::seconds drain);

}  // namespace cria::server
