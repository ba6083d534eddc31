// `cria tokenize`: text to token ids, or ids back to text.
#include <fmt/ranges.h>

#include "base/platform.h"
#include "cli/command.h"
#include "cli/streams.h"

namespace cria::cli {
namespace {

struct TokenizeFlags {
  ModelFlags model;
  std::optional<std::string> text;
  std::vector<uint32_t> decode;
  bool no_special = false;
  bool pieces = false;
  bool json = false;
};

Status print_tokens(const text::Tokenizer& tokenizer, const std::string& text, const TokenizeFlags& flags) {
  CRIA_TRY_ASSIGN(const std::vector<uint32_t> ids, tokenizer.encode(text, {.add_special_tokens = !flags.no_special}));
  if (flags.json) {
    Json pieces = Json::array();
    for (const uint32_t id : ids) pieces.push_back(std::string(tokenizer.id_to_token(id).value_or("")));
    return write_output(Json{{"ids", ids}, {"tokens", pieces}}.dump() + "\n");
  }
  if (!flags.pieces) return write_output(fmt::format("{}\n", fmt::join(ids, " ")));
  std::string lines;
  for (const uint32_t id : ids) lines += fmt::format("{:>8}  {}\n", id, tokenizer.id_to_token(id).value_or(""));
  return write_output(lines);
}

Status run(const TokenizeFlags& flags) {
  CRIA_TRY_ASSIGN(const std::filesystem::path path, flags.model.path());
  CRIA_TRY_ASSIGN(const engine::ModelFiles files, engine::ModelFiles::open(path));
  CRIA_TRY_ASSIGN(const text::Tokenizer tokenizer, files.tokenizer());
  if (!flags.decode.empty()) {
    CRIA_TRY_ASSIGN(const std::string text, tokenizer.decode(flags.decode, /*skip_special_tokens=*/false));
    return write_output(text + "\n");
  }
  if (flags.text) return print_tokens(tokenizer, *flags.text, flags);
  if (platform::stdin_is_terminal()) {
    return fail(ErrorCode::kInvalidInput, "there is no text: give --text TEXT or --decode IDS, or pipe the text in");
  }
  CRIA_TRY_ASSIGN(const std::string piped, read_input());
  return print_tokens(tokenizer, piped, flags);
}

}  // namespace

void add_tokenize(CLI::App& app, Command& chosen) {
  auto* command = app.add_subcommand("tokenize", "Show the tokens of a text, or the text of tokens");
  auto flags = std::make_shared<TokenizeFlags>();
  flags->model.add_model_to(*command);
  command->add_option("-t,--text", flags->text, "Text to tokenize; by default read from a pipe")->type_name("TEXT");
  command->add_option("--decode", flags->decode, "Token ids to turn back into text")
      ->check(number_from(0U, UINT32_MAX))
      ->type_name("ID ...");
  command->add_flag("--no-special-tokens", flags->no_special, "Do not add the tokenizer's special tokens");
  command->add_flag("--pieces", flags->pieces, "One line per token, with its spelling in the vocabulary");
  command->add_flag("--json", flags->json, "Print ids and tokens as JSON");
  command->callback([&chosen, flags] { chosen = [flags] { return run(*flags); }; });
}

}  // namespace cria::cli
