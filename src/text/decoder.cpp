#include "text/decoder.h"

#include "base/json_fields.h"
#include "text/bpe.h"
#include "text/unicode.h"

namespace cria::text {
namespace {

constexpr std::string_view kReplacementCharacter = "\uFFFD";

std::string replacement_characters(size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += kReplacementCharacter;
  return text;
}

std::string replaced(const DecoderRules& rules, std::string_view spelling, bool is_first) {
  std::string text(spelling);
  for (const DecoderRules::Step& step : rules.steps) {
    const bool drop = is_first && step.drop_in_first;
    text = drop ? Replacement{step.replacement.pattern, ""}.apply(text) : step.replacement.apply(text);
  }
  return text;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

/// The byte that <0xXX> stands for, or nothing.
std::optional<char> fallback_byte(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return std::nullopt;
  const int high = hex_digit(text[3]);
  const int low = hex_digit(text[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<char>(high * 16 + low);
}

/// The bytes of a token in the byte alphabet; a token with any other character stands for itself.
std::string unspell_bytes(std::string_view spelling) {
  std::string bytes;
  for (size_t at = 0; at < spelling.size();) {
    const CodePoint point = decode_utf8(spelling, at);
    const auto byte = character_to_byte(point.value);
    if (!byte) return std::string(spelling);
    bytes += static_cast<char>(*byte);
    at += point.bytes;
  }
  return bytes;
}

/// Reads the steps of a decoder in their order.
class RulesReader {
 public:
  explicit RulesReader(std::string_view name) : name_(name) {}

  Status add(const Json& step, int depth) {
    constexpr int kMaxDepth = 4;
    constexpr size_t kMaxSteps = 16;
    if (!step.is_object() || depth > kMaxDepth) {
      return fail(ErrorCode::kInvalidInput, "{}: a decoder is not an object, or nested deeper than {}", name_,
                  kMaxDepth);
    }
    if (++steps_ > kMaxSteps) {
      return fail(ErrorCode::kUnsupported, "{}: the decoder has more than {} steps", name_, kMaxSteps);
    }
    const JsonFields fields(step, name_);
    CRIA_TRY_ASSIGN(const auto type, fields.string("type"));
    if (type == "Sequence") {
      const Json* list = fields.find("decoders");
      if (list == nullptr || !list->is_array()) {
        return fail(ErrorCode::kInvalidInput, "{}: a decoder sequence has no \"decoders\"", name_);
      }
      for (const Json& inner : *list) CRIA_TRY(add(inner, depth + 1));
      return {};
    }
    if (type == "ByteLevel") return advance(0, [&] { rules.byte_level = true; });
    if (type == "Replace") return add_replace(step);
    if (type == "ByteFallback") return advance(2, [&] { rules.byte_fallback = true; });
    if (type == "Fuse") return advance(3, [] {});
    if (type == "Strip") return add_strip(fields);
    if (type == "Metaspace") return add_metaspace(fields);
    return fail(ErrorCode::kUnsupported, "{}: the decoder \"{}\" is not supported", name_, type.value_or("(none)"));
  }

  DecoderRules rules;

 private:
  /// Steps must come in the order of their stages, so that they can run token by token.
  template <typename Apply>
  Status advance(int stage, Apply&& apply) {
    if (stage < stage_ || rules.byte_level) {
      return fail(ErrorCode::kUnsupported, "{}: the decoder's steps are in an order that is not supported", name_);
    }
    stage_ = stage;
    apply();
    return {};
  }

  Status add_replace(const Json& step) {
    CRIA_TRY_ASSIGN(auto replacement, Replacement::from_json(step, "Replace decoder", name_));
    return add_step({std::move(replacement), false});
  }

  Status add_step(DecoderRules::Step step) {
    CRIA_TRY(growth_.add(step.replacement.pattern.size(), step.replacement.content.size(), "decoder", name_));
    return advance(1, [&] { rules.steps.push_back(std::move(step)); });
  }

  Status add_strip(const JsonFields& fields) {
    CRIA_TRY_ASSIGN(const auto content, fields.string("content"));
    CRIA_TRY_ASSIGN(const auto start, fields.whole("start", 0, 1000));
    CRIA_TRY_ASSIGN(const auto stop, fields.whole("stop", 0, 1000));
    if (!content || content->size() != 1 || stop.value_or(0) != 0 || stage_ != 3) {
      return fail(ErrorCode::kUnsupported, "{}: a Strip decoder other than of the text's begin is not supported",
                  name_);
    }
    return advance(4, [&] {
      rules.strip_content = (*content)[0];
      rules.strip_count = static_cast<uint32_t>(start.value_or(0));
    });
  }

  Status add_metaspace(const JsonFields& fields) {
    CRIA_TRY_ASSIGN(const auto replacement, fields.string("replacement"));
    CRIA_TRY_ASSIGN(const auto scheme, fields.string("prepend_scheme"));
    CRIA_TRY_ASSIGN(const auto prefix, fields.boolean("add_prefix_space"));
    const bool prepended = scheme ? *scheme != "never" : prefix.value_or(true);
    const std::string mark = replacement.value_or("\u2581");
    if (mark.empty()) return fail(ErrorCode::kInvalidInput, "{}: a Metaspace replacement is empty", name_);
    return add_step({.replacement = {mark, " "}, .drop_in_first = prepended});
  }

  std::string_view name_;
  int stage_ = 0;
  size_t steps_ = 0;
  Growth growth_;
};

}  // namespace

Result<DecoderRules> DecoderRules::from_json(const Json& decoder, std::string_view name) {
  RulesReader reader(name);
  if (decoder.is_null()) {
    reader.rules.join_with_spaces = true;
  } else {
    CRIA_TRY(reader.add(decoder, 0));
  }
  return reader.rules;
}

std::string token_bytes(const DecoderRules& rules, std::string_view spelling) {
  if (rules.byte_level) return unspell_bytes(spelling);
  std::string text = replaced(rules, spelling, /*is_first=*/false);
  if (rules.byte_fallback) {
    if (const auto byte = fallback_byte(text)) return {*byte};
  }
  return text;
}

std::string TextBuilder::strip(std::string text) {
  size_t count = 0;
  while (stripped_ < rules_->strip_count && count < text.size() && text[count] == rules_->strip_content) {
    ++count;
    ++stripped_;
  }
  if (count < text.size()) stripped_ = rules_->strip_count;  // the text has begun
  if (count > 0) text.erase(0, count);
  return text;
}

std::string TextBuilder::push_byte_level(std::string_view spelling) {
  pending_ += unspell_bytes(spelling);
  const size_t whole = pending_.size() - incomplete_utf8_tail(pending_);
  std::string text = to_valid_utf8(std::string_view(pending_).substr(0, whole));
  pending_.erase(0, whole);
  return text;
}

std::string TextBuilder::push_fallback_byte(char byte) {
  if (run_is_invalid_) return std::string(kReplacementCharacter);
  pending_ += byte;
  const std::string_view unchecked = std::string_view(pending_).substr(checked_);
  const size_t tail = incomplete_utf8_tail(unchecked);
  if (!find_invalid_utf8(unchecked.substr(0, unchecked.size() - tail))) {
    checked_ = pending_.size() - tail;
    return {};
  }
  std::string text = replacement_characters(pending_.size());
  pending_.clear();
  run_is_invalid_ = true;
  return text;
}

std::string TextBuilder::end_fallback_run() {
  std::string run = std::exchange(pending_, {});
  run_is_invalid_ = false;
  return std::exchange(checked_, 0) == run.size() ? run : replacement_characters(run.size());
}

std::string TextBuilder::push(std::string_view spelling) {
  if (rules_->byte_level) return push_byte_level(spelling);
  const bool is_first = !std::exchange(began_, true);
  std::string token = replaced(*rules_, spelling, is_first);
  if (rules_->join_with_spaces && !is_first) token.insert(0, " ");
  if (rules_->byte_fallback) {
    if (const auto byte = fallback_byte(token)) return strip(push_fallback_byte(*byte));
    if (!pending_.empty() || run_is_invalid_) token.insert(0, end_fallback_run());
  }
  return strip(std::move(token));
}

std::string TextBuilder::pause() {
  std::string text = std::exchange(pending_, {});
  text.resize(text.size() - incomplete_utf8_tail(text));
  checked_ = 0;
  run_is_invalid_ = false;
  return strip(std::move(text));
}

std::string TextBuilder::finish() {
  std::string text = rules_->byte_level ? to_valid_utf8(pending_) : strip(end_fallback_run());
  *this = TextBuilder(*rules_);
  return text;
}

}  // namespace cria::text
