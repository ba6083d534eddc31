// `cria chat`: a conversation with a model; answers go to stdout, everything else to stderr.
#include <cstdio>

#include "base/json_fields.h"
#include "base/log.h"
#include "base/platform.h"
#include "cli/command.h"
#include "cli/line_editor.h"
#include "cli/reading_bar.h"
#include "cli/report.h"
#include "cli/streams.h"
#include "engine/conversation.h"

namespace cria::cli {
namespace {

struct ChatFlags {
  ModelFlags model;
  DeviceFlags device;
  engine::SamplingChoice sampling;
  GrammarFlags grammar;
  DraftFlags draft;
  std::string chat_template;
  std::string system;
  std::string load;
  std::vector<std::string> stops;
  uint32_t max_tokens = 1024;
  bool save_cache = false;
};

constexpr const char* kCacheSuffix = ".kv";
constexpr const char* kHelp =
    "/help          these commands\n"
    "/reset         forget the conversation, but for the system prompt\n"
    "/system TEXT   set the system prompt and forget the conversation; without TEXT there is none\n"
    "/regen         give the last answer anew\n"
    "/save FILE     write the conversation to a file\n"
    "/load FILE     go on with a conversation from a file\n"
    "/stats         figures of the last answer\n"
    "/quit          end (also Ctrl-D, or Ctrl-C twice)\n"
    "A line that ends in \\ goes on in the next one. Ctrl-C stops an answer.\n";

class Chat {
 public:
  Chat(const ChatFlags& flags, engine::Engine& engine, engine::Conversation conversation,
       std::shared_ptr<const grammar::Grammar> grammar)
      : flags_(flags), engine_(engine), conversation_(std::move(conversation)), grammar_(std::move(grammar)) {}

  Status begin() {
    if (!flags_.load.empty()) CRIA_TRY(load(flags_.load));
    if (!flags_.system.empty()) conversation_.set_system(flags_.system);
    return {};
  }

  Status run() {
    if (editor_.is_terminal()) std::fputs("Type a message, or /help.\n", stderr);
    bool interrupted_before = false;
    for (;;) {
      std::string line;
      CRIA_TRY_ASSIGN(const LineEditor::Outcome outcome, read_message(line));
      if (outcome == LineEditor::Outcome::kEnd) return {};
      if (outcome == LineEditor::Outcome::kInterrupted) {
        if (interrupted_before) return {};
        interrupted_before = true;
        std::fputs("(Ctrl-C once more, or Ctrl-D, ends)\n", stderr);
        continue;
      }
      interrupted_before = false;
      if (line == "/quit") return {};
      const Status status = handle(line);
      if (status) continue;
      // Someone at a terminal can go on after an error; what a pipe says next may depend on what failed.
      if (!editor_.is_terminal()) return status;
      log::error("{}", status.error().message());
      if (status.error().code() == ErrorCode::kDevice) CRIA_TRY(reload());
    }
  }

 private:
  /// A line, and those that a \ at the end joins to it.
  Result<LineEditor::Outcome> read_message(std::string& message) {
    CRIA_TRY_ASSIGN(LineEditor::Outcome outcome, editor_.read("> ", message));
    while (outcome == LineEditor::Outcome::kLine && message.ends_with('\\')) {
      message.back() = '\n';
      std::string more;
      CRIA_TRY_ASSIGN(outcome, editor_.read(". ", more));
      message += more;
      if (outcome == LineEditor::Outcome::kEnd) return LineEditor::Outcome::kLine;
    }
    return outcome;
  }

  Status handle(const std::string& line) {
    if (line.find_first_not_of(" \t") == std::string::npos) return {};
    if (line.front() != '/') {
      conversation_.add("user", line);
      const Status answered = answer();
      // What could not be answered is no part of the conversation.
      if (!answered && conversation_.messages().back().role == "user") {
        auto messages = conversation_.messages();
        messages.pop_back();
        conversation_.set_messages(std::move(messages));
      }
      return answered;
    }
    const size_t blank = line.find(' ');
    const std::string command = line.substr(0, blank);
    const size_t begin = line.find_first_not_of(' ', blank);
    return run_command(command, blank == std::string::npos || begin == std::string::npos ? "" : line.substr(begin));
  }

  Status run_command(const std::string& command, const std::string& argument) {
    if (command == "/help") {
      std::fputs(kHelp, stderr);
    } else if (command == "/reset") {
      conversation_.reset();
    } else if (command == "/system") {
      conversation_.set_messages({});
      conversation_.set_system(argument);
    } else if (command == "/regen") {
      if (!conversation_.take_back_answer()) return fail(ErrorCode::kInvalidInput, "there is no answer to give anew");
      return answer();
    } else if (command == "/stats") {
      std::fputs(last_ ? stats_text(engine_, *last_).c_str() : "there was no answer yet\n", stderr);
    } else if (command == "/save" || command == "/load") {
      if (argument.empty()) return fail(ErrorCode::kInvalidInput, "{} needs the name of a file", command);
      return command == "/save" ? save(argument) : load(argument);
    } else {
      return fail(ErrorCode::kInvalidInput, "there is no command {} (see /help; a message cannot begin with /)",
                  command);
    }
    return {};
  }

  Status answer() {
    engine::GenerateOptions options;
    options.sampling = engine::resolve_sampling(flags_.sampling, engine_.defaults());
    options.sampling.seed += answers_++;  // an answer given anew is another one
    options.max_tokens = flags_.max_tokens;
    options.grammar = grammar_;
    options.stop_tokens = engine::stop_tokens(engine_.config(), engine_.defaults());
    ReadingBar bar;
    options.on_read = [&bar](uint32_t read, uint32_t total) { bar.show(read, total); };
    platform::catch_interrupts();
    platform::clear_interrupts();
    Status written;
    auto answer = conversation_.answer(options, flags_.stops, [&](const std::string& piece) {
      written = write_output(piece);
      return written.has_value();
    });
    platform::clear_interrupts();
    CRIA_TRY(written);
    if (!answer) return std::unexpected(std::move(answer).error());
    CRIA_TRY(write_output("\n"));
    last_ = answer->stats;
    if (answer->dropped_messages > 0) {
      log::info("the context of {} tokens is full: the {} oldest messages were dropped",
                with_commas(engine_.model().kv_cache().max_context()), answer->dropped_messages);
    }
    const engine::StopReason reason = answer->stats.stop_reason;
    const bool natural = reason == engine::StopReason::kEndOfText || reason == engine::StopReason::kStopText;
    if (!natural) log::info("the answer was cut off: {}", engine::stop_reason_name(reason));
    log::debug("{} of the prompt's tokens were in the cache, {} were read", answer->kept_tokens,
               answer->stats.prompt_tokens);
    return {};
  }

  /// The device is lost, and the conversation is not.
  Status reload() {
    log::info("opening the device again and loading the model");
    if (Status status = conversation_.reload(); !status) {
      return std::unexpected(std::move(status).error().while_doing("opening the device again after it was lost"));
    }
    log::info("the conversation goes on; say it again");
    return {};
  }

  Status save(const std::string& file) const {
    const Json session = {{"cria_chat", 1},
                          {"model", engine_.path().string()},
                          {"messages", engine::messages_json(conversation_.messages())}};
    const std::string text = session.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
    const std::span<const std::byte> part = std::as_bytes(std::span(text));
    CRIA_TRY(platform::write_file_atomically(file, std::span(&part, 1)));
    return flags_.save_cache ? conversation_.save_cache(file + kCacheSuffix) : Status();
  }

  Status load(const std::string& file) {
    CRIA_TRY_ASSIGN(const std::string text, read_text_file(file));
    CRIA_TRY_ASSIGN(const Json session, parse_json(text, file));
    const auto messages = session.is_object() ? session.find("messages") : session.end();
    if (!session.is_object() || !session.contains("cria_chat") || messages == session.end()) {
      return fail(ErrorCode::kInvalidInput, "{}: is not a conversation that /save wrote", file);
    }
    if (session.at("cria_chat") != 1) {
      return fail(ErrorCode::kUnsupported, "{}: is a conversation of version {}, and 1 is supported", file,
                  shown(session.at("cria_chat")));
    }
    CRIA_TRY_ASSIGN(auto parsed, engine::parse_messages(*messages, file));
    conversation_.set_messages(std::move(parsed));
    return load_cache(file + kCacheSuffix);
  }

  /// Without a cache that fits, the conversation is read anew, which only takes longer.
  Status load_cache(const std::string& file) {
    std::error_code ignored;
    if (!std::filesystem::exists(file, ignored)) return {};
    const Status loaded = conversation_.load_cache(file);
    if (loaded || loaded.error().code() == ErrorCode::kDevice) return loaded;
    log::info("{} (the conversation will be read anew)", loaded.error().message());
    return {};
  }

  const ChatFlags& flags_;
  engine::Engine& engine_;
  engine::Conversation conversation_;
  std::shared_ptr<const grammar::Grammar> grammar_;  // of each answer
  LineEditor editor_;
  std::optional<engine::GenerationStats> last_;
  uint64_t answers_ = 0;
};

Status run(const ChatFlags& flags) {
  CRIA_TRY_ASSIGN(const std::filesystem::path path, flags.model.path());
  engine::EngineOptions options;
  CRIA_TRY_ASSIGN(options.device, flags.device.options());
  CRIA_TRY_ASSIGN(options.model, flags.model.options());
  CRIA_TRY_ASSIGN(options.draft, flags.draft.options());
  options.show_progress = platform::stderr_is_terminal();
  options.needs_tokenizer = true;
  CRIA_TRY(engine::validate(engine::resolve_sampling(flags.sampling, {})));
  for (const std::string& stop : flags.stops) {
    if (stop.empty()) return fail(ErrorCode::kInvalidInput, "--stop is empty: it would end every answer at once");
  }
  CRIA_TRY_ASSIGN(auto grammar, flags.grammar.read());
  CRIA_TRY_ASSIGN(const engine::ModelFiles files, engine::ModelFiles::open(path));
  CRIA_TRY_ASSIGN(text::ChatTemplate chat_template, choose_template(files, flags.chat_template));
  CRIA_TRY_ASSIGN(const std::unique_ptr<engine::Engine> engine, engine::Engine::load(path, options));
  note_software_device(engine->device().info());
  CRIA_TRY_ASSIGN(engine::Conversation conversation, engine::Conversation::create(*engine, std::move(chat_template)));
  Chat chat(flags, *engine, std::move(conversation), std::move(grammar));
  CRIA_TRY(chat.begin());
  return chat.run();
}

}  // namespace

void add_chat(CLI::App& app, Command& chosen) {
  auto* command = app.add_subcommand("chat", "Talk with a model");
  auto flags = std::make_shared<ChatFlags>();
  flags->model.add_to(*command);
  command->add_option("--system", flags->system, "System prompt")->type_name("TEXT");
  add_template_to(*command, flags->chat_template);
  command->add_option("--load", flags->load, "Go on with a conversation that /save wrote")->type_name("FILE");
  command->add_flag("--save-cache", flags->save_cache,
                    "/save also writes FILE.kv, so that /load needs not read it all");
  command->add_option("-n,--max-tokens", flags->max_tokens, "Tokens of one answer at most")
      ->check(number_from(1U, UINT32_MAX))
      ->capture_default_str();
  command->add_option("--stop", flags->stops, "Text that ends an answer; may be given several times")
      ->type_name("TEXT")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  add_sampling_to(*command, flags->sampling);
  flags->grammar.add_to(*command);
  flags->draft.add_to(*command);
  flags->device.add_to(*command);
  command->callback([&chosen, flags] { chosen = [flags] { return run(*flags); }; });
}

}  // namespace cria::cli
