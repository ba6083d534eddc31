#include "server/metrics.h"

#include <algorithm>

namespace cria::server {
namespace {

void add(std::string& text, std::string_view name, std::string_view kind, std::string_view help, uint64_t value) {
  text += fmt::format("# HELP cria_{0} {1}\n# TYPE cria_{0} {2}\ncria_{0} {3}\n", name, help, kind, value);
}

}  // namespace

void Metrics::count(int status) { ++answers_[static_cast<size_t>(std::clamp(status / 100, 0, 5))]; }

std::string Metrics::text(const engine::SchedulerState& state, size_t connections) const {
  std::string text =
      "# HELP cria_http_answers_total Answers by the class of their status.\n"
      "# TYPE cria_http_answers_total counter\n";
  for (size_t kind = 2; kind < answers_.size(); ++kind) {
    text += fmt::format("cria_http_answers_total{{status=\"{}xx\"}} {}\n", kind, answers_[kind].load());
  }
  add(text, "connections", "gauge", "Connections that are open.", connections);
  add(text, "slots", "gauge", "Texts that can be generated at once.", state.slots);
  add(text, "slots_busy", "gauge", "Texts that are being generated.", state.busy_slots);
  add(text, "queue_length", "gauge", "Jobs that wait for a slot.", state.queued);
  add(text, "jobs_finished_total", "counter", "Jobs that came to their end.", state.finished);
  add(text, "jobs_cancelled_total", "counter", "Jobs whose client went away or had enough.", state.cancelled);
  add(text, "jobs_failed_total", "counter", "Jobs that ended with an error.", state.failed);
  add(text, "jobs_refused_total", "counter", "Jobs for which the queue had no place.", state.refused);
  add(text, "prompt_tokens_total", "counter", "Tokens of prompts.", state.prompt_tokens);
  add(text, "prompt_tokens_cached_total", "counter", "Tokens of prompts that were in the cache.", state.kept_tokens);
  add(text, "prompt_tokens_shared_total", "counter", "Of these, tokens that other prompts had in common.",
      state.shared_tokens);
  add(text, "generated_tokens_total", "counter", "Tokens that were generated.", state.generated_tokens);
  add(text, "steps_total", "counter", "Decode steps.", state.steps);
  add(text, "draft_tokens_total", "counter", "Drafted tokens that were verified.", state.drafted_tokens);
  add(text, "draft_tokens_accepted_total", "counter", "Of these, tokens that became part of texts.",
      state.accepted_tokens);
  add(text, "kv_pages", "gauge", "Pages that the cache may have.", state.pages);
  add(text, "kv_pages_used", "gauge", "Pages that hold anything, if only to be used again.", state.used_pages);
  add(text, "kv_pages_busy", "gauge", "Pages of texts that are being generated.", state.busy_pages);
  add(text, "weight_bytes", "gauge", "Bytes of the device's memory for weights.", state.memory.weight_bytes);
  add(text, "kv_bytes", "gauge", "Bytes of the device's memory for the cache.", state.memory.kv_bytes);
  add(text, "scratch_bytes", "gauge", "Bytes of the device's memory for passing results.", state.memory.scratch_bytes);
  add(text, "jobs_preempted", "gauge", "Jobs that had to give way, and wait to go on.", state.preempted);
  add(text, "spilled_bytes", "gauge", "Bytes of their pages in host memory.", state.spilled_bytes);
  add(text, "preemptions_total", "counter", "Times that a job had to give way.", state.preemptions);
  add(text, "recomputations_total", "counter", "Of these, times that its pages were not kept.", state.recomputations);
  add(text, "gpu_losses_total", "counter", "Times that the device was lost.", state.device_losses);
  add(text, "device_loading", "gauge", "1 while a lost device is opened again.", state.is_recovering ? 1 : 0);
  add(text, "device_failed", "gauge", "1 where the device has failed.", state.is_broken ? 1 : 0);
  return text;
}

}  // namespace cria::server
