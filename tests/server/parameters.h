// The parameters of completions and chats below, at and above their limits, and of the wrong type.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"

namespace cria::server {

struct Parameter {
  const char* name;
  std::vector<Json> taken, refused;
};

/// For a server with ServerOptions::max_tokens of 3 to 200, the default model, and the name "stories".
inline std::vector<Parameter> parameters() {
  const Json wrong = {{"a", 1}};
  return {
      {"temperature", {0, 0.5, 2, nullptr}, {-0.1, 2.01, "1", true, wrong, Json::array()}},
      {"top_p", {1e-6, 0.5, 1, nullptr}, {0, -1, 1.01, "1", false, wrong}},
      {"min_p", {0, 0.5, 1, nullptr}, {-0.1, 1.1, "0", wrong}},
      {"top_k", {0, 1, 4294967295U, nullptr}, {-1, 4294967296ULL, 1.5, "1", wrong}},
      {"repetition_penalty", {0.01, 1, 100, nullptr}, {0, -1, 100.5, "1", wrong}},
      {"seed", {0, 18446744073709551615ULL, nullptr}, {-1, 1.5, "1", wrong}},
      {"max_tokens", {1, 3, nullptr}, {0, -1, 201, 1.5, "1", wrong}},
      {"n", {1, 8, nullptr}, {0, -1, 9, 1.5, "1", wrong}},
      {"stop",
       {"x", Json::array(), Json::array({"a", "b", "c", "d"}), std::string(256, 'x'), nullptr},
       {"", 1, Json::array({""}), Json::array({1}), Json::array({"a", "b", "c", "d", "e"}), std::string(257, 'x'),
        wrong}},
      {"stream", {true, false, nullptr}, {1, "true", wrong}},
      {"stream_options", {nullptr}, {Json{{"include_usage", true}}, 1, wrong}},
      {"model", {"stories", nullptr}, {1, wrong}},
      {"user", {"me", nullptr}, {1, wrong}},
      {"presence_penalty", {-2, 0, 2, nullptr}, {-2.1, 2.1, "0", true, wrong}},
      {"frequency_penalty", {-2, 0, 2, nullptr}, {-2.1, 2.1, "0", true, wrong}},
      {"logit_bias",
       {Json::object(), Json{{"5", 1}}, Json{{"0", -100}, {"4095", 100}}, nullptr},
       {1, "5", Json::array({5}), wrong, Json{{"-5", 1}}, Json{{"", 1}}, Json{{"5.5", 1}}, Json{{"99999999999", 1}},
        Json{{"5", 100.5}}, Json{{"5", "1"}}, Json{{"5", nullptr}}, Json{{"4096", 1}}, Json{{"5", 1}, {"05", 1}}}},
      {"logprobs", {nullptr}, {-1, 6, 1.5, "1", wrong}},
      {"unheard_of", {}, {1, nullptr, wrong}},
      {"response_format",
       {nullptr, Json{{"type", "text"}}, Json{{"type", "json_object"}},
        Json{{"type", "json_schema"}, {"json_schema", {{"name", "a"}, {"schema", {{"type", "integer"}}}}}},
        Json{{"type", "json_schema"},
             {"json_schema", {{"name", "a"}, {"strict", true}, {"description", "b"}, {"schema", Json::object()}}}}},
       {1, "json_object", Json::object(), Json{{"type", 1}}, Json{{"type", "xml"}}, Json{{"type", "text"}, {"a", 1}},
        Json{{"type", "json_schema"}}, Json{{"type", "json_schema"}, {"json_schema", {{"name", "a"}}}},
        Json{{"type", "json_schema"}, {"json_schema", {{"schema", {{"type", "thing"}}}}}},
        Json{{"type", "json_schema"}, {"json_schema", {{"schema", {{"not", Json::object()}}}}}},
        Json{{"type", "json_schema"}, {"json_schema", {{"schema", Json::object()}, {"strict", 1}}}},
        Json{{"type", "json_schema"}, {"json_schema", {{"schema", 1}}}}}},
      {"grammar", {nullptr, "root ::= [a-z ]*", "root ::="}, {1, "", "root ::= x", "root ::= root", wrong}},
      {"ignore_eos", {true, false, nullptr}, {1, "true", wrong}},
  };
}

}  // namespace cria::server
