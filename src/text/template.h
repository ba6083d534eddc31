// The special tokens that a tokenizer puts around a text: <s> before it, </s> after it.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "text/hash_tables.h"

namespace cria::text {

class Template {
 public:
  /// From the "post_processor" of tokenizer.json (null for none): TemplateProcessing, of which "single" is
  /// what counts; ByteLevel, which only concerns offsets; a Sequence of these. `is_known` says whether an
  /// id has a token. Errors: kUnsupported naming another type, kInvalidInput.
  static Result<Template> from_json(const Json& processor, const std::function<bool(TokenId)>& is_known,
                                    std::string_view name);

  [[nodiscard]] const std::vector<TokenId>& prefix() const { return prefix_; }
  [[nodiscard]] const std::vector<TokenId>& suffix() const { return suffix_; }

 private:
  using IsKnown = std::function<bool(TokenId)>;
  Status add(const Json& processor, const IsKnown& is_known, std::string_view name, int depth);
  Status add_template(const Json& processor, const IsKnown& is_known, std::string_view name);

  std::vector<TokenId> prefix_, suffix_;
  bool has_template_ = false;
};

}  // namespace cria::text
