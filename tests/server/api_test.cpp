// What the API answers, and each parameter below, at and above its limits, and of the wrong type.
#include "server/parameters.h"
#include "server/server_fixture.h"

namespace cria::server {
namespace {

using namespace nlohmann::literals;

Json chat_body(const Json& more = Json::object()) {
  Json body = {
      {"messages", Json::array({{{"role", "user"}, {"content", "Hi"}}})}, {"max_tokens", 4}, {"temperature", 0}};
  body.update(more);
  return body;
}
Json text_body(const Json& more = Json::object()) {
  Json body = {{"prompt", "Once upon a time"}, {"max_tokens", 4}, {"temperature", 0}, {"repetition_penalty", 1}};
  body.update(more);
  return body;
}

/// The events of a stream, without "data: ".
std::vector<std::string> events_of(const std::string& text) {
  std::vector<std::string> events;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find("\n\n", at);
    EXPECT_NE(end, std::string::npos);
    EXPECT_EQ(text.substr(at, 6), "data: ");
    events.push_back(text.substr(at + 6, end - at - 6));
    at = end == std::string::npos ? text.size() : end + 2;
  }
  return events;
}

TEST_F(ServerTest, AnswersWholeAndStreamed) {
  start();
  const Reply whole = post("/v1/chat/completions", chat_body({{"max_tokens", 12}}));
  ASSERT_EQ(whole.status, 200) << whole.text;
  EXPECT_EQ(whole.json.at("object"), "chat.completion");
  EXPECT_EQ(whole.json.at("model"), "stories");
  const Json& choice = whole.json.at("choices").at(0);
  EXPECT_EQ(choice.at("finish_reason"), "length");
  const std::string text = choice.at("message").at("content");
  EXPECT_FALSE(text.empty());
  EXPECT_EQ(whole.json.at("usage").at("completion_tokens"), 12);

  const Reply stream =
      post("/v1/chat/completions",
           chat_body({{"max_tokens", 12}, {"stream", true}, {"stream_options", {{"include_usage", true}}}}));
  EXPECT_EQ(stream.headers.find("Content-Type")->second, "text/event-stream");
  const std::vector<std::string> events = events_of(stream.text);
  ASSERT_GE(events.size(), 5U);
  EXPECT_EQ(events.back(), "[DONE]");
  std::string joined;
  std::string reason;
  for (size_t i = 0; i + 2 < events.size(); ++i) {
    const Json event = parse_json(events[i], "event").value();
    const Json& part = event.at("choices").at(0);
    if (part.at("delta").contains("content")) joined += part.at("delta").at("content").get<std::string>();
    if (part.at("finish_reason").is_string()) reason = part.at("finish_reason");
  }
  EXPECT_EQ(joined, text);
  EXPECT_EQ(reason, "length");
  const Json usage = parse_json(events[events.size() - 2], "usage").value().at("usage");
  EXPECT_EQ(usage.at("completion_tokens"), 12);
  EXPECT_GT(usage.at("prompt_tokens_details").at("cached_tokens"), 0) << "the first answer's prompt was the same";
}

/// As OpenAI has it: whoever asks for the usage gets it in a last event without choices, and null in those before it.
TEST_F(ServerTest, StreamsTellTheUsageWhereItIsAskedFor) {
  start();
  for (const bool is_chat : {true, false}) {
    for (const Json& options : {Json{{"include_usage", true}}, Json{{"include_usage", false}}, Json()}) {
      SCOPED_TRACE(options.dump());
      const Json more = {{"stream", true}, {"stream_options", options}, {"n", 2}, {"ignore_eos", true}};
      const std::vector<std::string> events = is_chat ? events_of(post("/v1/chat/completions", chat_body(more)).text)
                                                      : events_of(post("/v1/completions", text_body(more)).text);
      const bool is_wanted = options.is_object() && options.at("include_usage") == true;
      ASSERT_GE(events.size(), 6U);
      EXPECT_EQ(events.back(), "[DONE]");
      for (size_t i = 0; i + 1 < events.size(); ++i) {
        const Json event = parse_json(events[i], "event").value();
        const bool is_last = is_wanted && i + 2 == events.size();
        EXPECT_EQ(event.at("choices").size(), is_last ? 0U : 1U) << events[i];
        EXPECT_EQ(event.contains("usage"), is_wanted) << events[i];
        if (!is_wanted) continue;
        if (is_last) {
          EXPECT_EQ(event.at("usage").at("completion_tokens"), 8) << events[i];
          EXPECT_EQ(event.at("usage").at("total_tokens"), event.at("usage").at("prompt_tokens").get<int>() + 8);
        } else {
          EXPECT_TRUE(event.at("usage").is_null()) << events[i];
        }
      }
    }
  }
}

TEST_F(ServerTest, TheEndOfATextCanBeIgnored) {
  start();
  const uint32_t end_of_text = engine_->config().eos_token_ids.at(0);
  const Json body = text_body({{"max_tokens", 6}, {"logit_bias", {{std::to_string(end_of_text), 100}}}});
  const Reply ended = post("/v1/completions", body);
  EXPECT_EQ(ended.json.at("choices").at(0).at("finish_reason"), "stop");
  EXPECT_EQ(ended.json.at("usage").at("completion_tokens"), 0);
  Json more = body;
  more["ignore_eos"] = true;
  const Reply whole = post("/v1/completions", more);
  EXPECT_EQ(whole.json.at("choices").at(0).at("finish_reason"), "length");
  EXPECT_EQ(whole.json.at("usage").at("completion_tokens"), 6);
}

TEST_F(ServerTest, CompletesTextsAndTokens) {
  start();
  const Reply text = post("/v1/completions", text_body({{"max_tokens", 8}}));
  ASSERT_EQ(text.status, 200) << text.text;
  EXPECT_EQ(text.json.at("choices").at(0).at("text"), ", there was a little girl named Lily");
  const Json tokens = post("/tokenize", Json{{"text", "Once upon a time"}}).json.at("tokens");
  const Reply from_tokens = post("/v1/completions", text_body({{"max_tokens", 8}, {"prompt", tokens}}));
  EXPECT_EQ(from_tokens.json.at("choices"), text.json.at("choices"));
  EXPECT_EQ(post("/v1/completions", text_body({{"max_tokens", 8}, {"prompt", Json::array({"Once upon a time"})}}))
                .json.at("choices"),
            text.json.at("choices"));
  EXPECT_EQ(post("/detokenize", Json{{"tokens", tokens}}).json.at("text"), "<s> Once upon a time");
  const Reply stopped =
      post("/v1/completions", text_body({{"max_tokens", 20}, {"stop", Json::array({"little", "zz"})}}));
  EXPECT_EQ(stopped.json.at("choices").at(0).at("text"), ", there was a ");
  EXPECT_EQ(stopped.json.at("choices").at(0).at("finish_reason"), "stop");
  const Reply several =
      post("/v1/completions", text_body({{"n", 3}, {"temperature", 1}, {"seed", 1}, {"max_tokens", 12}}));
  ASSERT_EQ(several.json.at("choices").size(), 3U);
  EXPECT_NE(several.json.at("choices").at(0).at("text"), several.json.at("choices").at(1).at("text"));
  EXPECT_EQ(post("/v1/completions", text_body({{"n", 3}, {"temperature", 1}, {"seed", 1}, {"max_tokens", 12}}))
                .json.at("choices"),
            several.json.at("choices"));
}

TEST_F(ServerTest, TellsAboutItself) {
  start({.api_key = ""});
  EXPECT_EQ(get("/health").json.at("status"), "ok");
  EXPECT_EQ(get("/ready").status, 200);
  EXPECT_EQ(get("/v1/models").json.at("data").at(0).at("id"), "stories");
  EXPECT_EQ(get("/v1/models/stories").json, get("/v1/models").json.at("data").at(0));
  expect_refused(get("/v1/models/other"), 404, "there is no model \"other\"");
  const std::string metrics = get("/metrics").text;
  EXPECT_NE(metrics.find("\ncria_slots 2\n"), std::string::npos) << metrics;
  expect_refused(get("/nothing"), 404, "there is nothing at this path");
  expect_refused(get("/v1/completions"), 405, "does not take this method");
}

TEST_F(ServerTest, EachParameterHasItsLimits) {
  start({.max_tokens = 200});
  for (const Parameter& parameter : parameters()) {
    for (const bool is_chat : {true, false}) {
      const std::string path = is_chat ? "/v1/chat/completions" : "/v1/completions";
      const auto with = [&](const Json& value) {
        Json body = is_chat ? chat_body({{"max_tokens", 2}}) : text_body({{"max_tokens", 2}});
        body[parameter.name] = value;
        if (value.is_null() && std::string_view(parameter.name) == "max_tokens") body["stop"] = " ";
        return post(path, body);
      };
      for (const Json& value : parameter.taken) {
        const Reply reply = with(value);
        EXPECT_EQ(reply.status, 200) << parameter.name << " = " << value << ": " << reply.text;
      }
      for (const Json& value : parameter.refused) {
        const Reply reply = with(value);
        SCOPED_TRACE(std::string(parameter.name) + " = " + value.dump());
        expect_refused(reply, 400, parameter.name);
        // What only the engine can tell has no "param".
        if (reply.json.value("/error/param"_json_pointer, Json()).is_null()) continue;
        EXPECT_EQ(reply.json.value("/error/param"_json_pointer, ""), parameter.name);
      }
    }
  }
}

TEST_F(ServerTest, BiasesAndPenaltiesChangeTheAnswer) {
  start();
  const auto text_with = [&](const Json& more) {
    Json body = text_body({{"max_tokens", 8}});
    body.update(more);
    return post("/v1/completions", body).json.at("choices").at(0).at("text").get<std::string>();
  };
  const std::string plain = ", there was a little girl named Lily";
  ASSERT_EQ(text_with(Json::object()), plain);
  const Json dog = post("/tokenize", Json{{"text", "dog"}, {"add_special_tokens", false}}).json.at("tokens");
  ASSERT_EQ(dog.size(), 1U);
  EXPECT_EQ(text_with({{"logit_bias", {{std::to_string(dog.at(0).get<int>()), 100}}}}),
            " dog dog dog dog dog dog dog dog");
  const Json comma = post("/tokenize", Json{{"text", "Once upon a time,"}}).json.at("tokens");
  const std::string banned = text_with({{"logit_bias", {{std::to_string(comma.back().get<int>()), -100}}}});
  EXPECT_EQ(banned.find(','), std::string::npos) << banned;
  const Json bias = {{std::to_string(dog.at(0).get<int>()), 20}};
  const std::string favoured = text_with({{"logit_bias", bias}, {"max_tokens", 20}});
  const std::string penalised =
      text_with({{"logit_bias", bias}, {"max_tokens", 20}, {"frequency_penalty", 2}, {"presence_penalty", 2}});
  const auto dogs = [](const std::string& text) {
    size_t count = 0;
    for (size_t at = text.find("dog"); at != std::string::npos; at = text.find("dog", at + 1)) ++count;
    return count;
  };
  EXPECT_GT(dogs(favoured), dogs(penalised)) << favoured << " / " << penalised;
  EXPECT_GT(dogs(penalised), 0U);
}

TEST_F(ServerTest, LogprobsAreToldInBothForms) {
  start();
  const Json whole = post("/v1/completions", text_body({{"logprobs", 3}, {"max_tokens", 6}})).json.at("choices").at(0);
  const Json& logprobs = whole.at("logprobs");
  ASSERT_EQ(logprobs.at("tokens").size(), 6U);
  std::string joined;
  for (size_t i = 0; i < 6; ++i) {
    const std::string token = logprobs.at("tokens").at(i);
    EXPECT_EQ(logprobs.at("text_offset").at(i), joined.size());
    joined += token;
    const double logprob = logprobs.at("token_logprobs").at(i);
    EXPECT_LE(logprob, 0);
    const Json& top = logprobs.at("top_logprobs").at(i);
    EXPECT_EQ(top.size(), 3U);
    EXPECT_EQ(top.at(token), logprob) << "the likeliest was taken";
    for (const auto& [other, value] : top.items()) EXPECT_LE(value.get<double>(), logprob) << other;
  }
  EXPECT_EQ(joined, whole.at("text"));
  const Json chat = post("/v1/chat/completions", chat_body({{"logprobs", true}, {"top_logprobs", 20}})).json;
  const Json& content = chat.at("choices").at(0).at("logprobs").at("content");
  ASSERT_EQ(content.size(), 4U);
  joined.clear();
  for (const Json& entry : content) {
    for (const int byte : entry.at("bytes")) joined += static_cast<char>(byte);
    EXPECT_EQ(entry.at("top_logprobs").size(), 20U);
    EXPECT_EQ(entry.at("top_logprobs").at(0).at("logprob"), entry.at("logprob"));
    EXPECT_EQ(entry.at("top_logprobs").at(0).at("token"), entry.at("token"));
  }
  EXPECT_TRUE(joined.ends_with(chat.at("choices").at(0).at("message").at("content").get<std::string>())) << joined;
  Json streamed = Json::array();
  for (const std::string& event :
       events_of(post("/v1/chat/completions", chat_body({{"logprobs", true}, {"stream", true}})).text)) {
    if (event == "[DONE]") continue;
    const Json part = parse_json(event, "event").value().at("choices").at(0).at("logprobs");
    if (!part.is_null()) streamed.insert(streamed.end(), part.at("content").begin(), part.at("content").end());
  }
  ASSERT_EQ(streamed.size(), 4U);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(streamed.at(i).at("token"), content.at(i).at("token"));
    EXPECT_NEAR(streamed.at(i).at("logprob"), content.at(i).at("logprob"), 1e-3);
    EXPECT_TRUE(streamed.at(i).at("top_logprobs").empty());
  }
  for (const Json& value : {Json(1), Json("true"), Json::object()}) {
    expect_refused(post("/v1/chat/completions", chat_body({{"logprobs", value}})), 400, "must be true or false");
  }
  for (const Json& value : {Json(21), Json(-1), Json(true), Json("1")}) {
    expect_refused(post("/v1/chat/completions", chat_body({{"logprobs", true}, {"top_logprobs", value}})), 400,
                   "from 0 to 20");
  }
  expect_refused(post("/v1/chat/completions", chat_body({{"top_logprobs", 2}})), 400, "without \"logprobs\": true");
}

TEST_F(ServerTest, EmbeddingsOfTextsAndTokens) {
  start();
  const std::string path = "/v1/embeddings";
  const Reply one = post(path, Json{{"input", "The dog ran."}, {"model", "stories"}});
  ASSERT_EQ(one.status, 200) << one.text;
  const Json& vector = one.json.at("data").at(0).at("embedding");
  ASSERT_EQ(vector.size(), engine_->config().hidden_size);
  double square = 0;
  for (const double value : vector) square += value * value;
  EXPECT_NEAR(square, 1, 1e-5);
  const Json tokens = post("/tokenize", Json{{"text", "The dog ran."}}).json.at("tokens");
  EXPECT_EQ(one.json.at("usage"), (Json{{"prompt_tokens", tokens.size()}, {"total_tokens", tokens.size()}}));
  const Reply several = post(path, Json{{"input", Json::array({"A red ball.", "The dog ran.", "The cat ran."})}});
  ASSERT_EQ(several.json.at("data").size(), 3U) << several.text;
  EXPECT_EQ(several.json.at("data").at(1).at("embedding"), vector);
  EXPECT_EQ(several.json.at("data").at(2).at("index"), 2);
  const auto likeness = [&](size_t a, size_t b) {
    double dot = 0;
    for (size_t i = 0; i < vector.size(); ++i) {
      dot += several.json.at("data").at(a).at("embedding").at(i).get<double>() *
             several.json.at("data").at(b).at("embedding").at(i).get<double>();
    }
    return dot;
  };
  EXPECT_GT(likeness(1, 2), likeness(0, 1));
  EXPECT_EQ(post(path, Json{{"input", tokens}}).json.at("data"), one.json.at("data"));
  EXPECT_EQ(post(path, Json{{"input", Json::array({tokens})}}).json.at("data"), one.json.at("data"));
  const Json packed =
      post(path, Json{{"input", "The dog ran."}, {"encoding_format", "base64"}, {"dimensions", vector.size()}}).json;
  const std::string letters = packed.at("data").at(0).at("embedding");
  EXPECT_EQ(letters.size(), (vector.size() * 4 + 2) / 3 * 4);
  const float first = vector.at(0).get<float>();
  std::string bytes(4, 0);
  std::memcpy(bytes.data(), &first, 4);
  EXPECT_EQ(letters.substr(0, 5), httplib::detail::base64_encode(bytes).substr(0, 5)) << "30 of 32 bits";

  for (const Json& input : {Json(), Json(1), Json(""), Json::array(), Json::array({""}), Json::array({Json::array()}),
                            Json::array({"a", 1}), Json::array({1, "a"}), Json::array({-1}),
                            Json::array({Json::object()}), Json(std::vector<std::string>(2049, "a"))}) {
    SCOPED_TRACE(input.dump().substr(0, 60));
    expect_refused(post(path, Json{{"input", input}}), 400, "\"input\"");
  }
  expect_refused(post(path, Json{{"input", Json::array({4096})}}), 400, "outside the vocabulary");
  expect_refused(post(path, Json{{"input", Json::array({"a", std::string(4000, 'x')})}}), 400, "input 1 has ");
  expect_refused(post(path, Json{{"input", "a"}, {"encoding_format", "int8"}}), 400, "\"float\" or \"base64\"");
  expect_refused(post(path, Json{{"input", "a"}, {"dimensions", 12}}), 400, "\"dimensions\" is 12: this model's");
  expect_refused(post(path, Json{{"input", "a"}, {"dimensions", "12"}}), 400, "whole number");
  expect_refused(post(path, Json{{"input", "a"}, {"model", "other"}}), 404, "there is no model \"other\"");
  expect_refused(post(path, Json{{"input", "a"}, {"temperature", 1}}), 400, "\"temperature\" is no parameter");
  expect_refused(get(path), 405, "does not take this method");
  expect_idle_soon();
}

TEST_F(ServerTest, WhatPromptsBeginWithIsReadOnce) {
  start({}, 4);
  const std::string system = "You tell stories about a little dog and a big red ball to the children of the town. ";
  const auto chat = [&](const std::string& question) {
    Json body = chat_body();
    body["messages"] = Json::array(
        {{{"role", "system"}, {"content", system + system + system}}, {{"role", "user"}, {"content", question}}});
    return body;
  };
  const Json first = post("/v1/chat/completions", chat("Who?")).json.at("usage");
  EXPECT_GT(first.at("prompt_tokens"), 70);
  EXPECT_EQ(first.at("prompt_tokens_details").at("cached_tokens"), 0);
  std::vector<Json> usages(3);
  std::vector<std::thread> clients;
  for (size_t i = 0; i < usages.size(); ++i) {
    clients.emplace_back(
        [&, i] { usages[i] = post("/v1/chat/completions", chat(std::string(i + 3, 'a') + "?")).json.at("usage"); });
  }
  for (std::thread& client : clients) client.join();
  for (const Json& usage : usages) EXPECT_GE(usage.at("prompt_tokens_details").at("cached_tokens"), 64);
}

TEST_F(ServerTest, UsageAndMetricsTellWhatBecameOfDrafts) {
  const Json body = {{"prompt", "Tom has a dog. Tom has a cat. Tom has a dog. Tom has a"},
                     {"max_tokens", 40},
                     {"temperature", 0},
                     {"repetition_penalty", 1},
                     {"ignore_eos", true}};
  start();
  const Reply plain = post("/v1/completions", body);
  ASSERT_EQ(plain.status, 200) << plain.text;
  EXPECT_EQ(plain.json.at("usage").at("completion_tokens_details"),
            (Json{{"accepted_prediction_tokens", 0}, {"rejected_prediction_tokens", 0}}));
  finish();
  draft_source_ = engine::DraftSource::kLookup;
  start();
  const Reply drafted = post("/v1/completions", body);
  ASSERT_EQ(drafted.status, 200) << drafted.text;
  EXPECT_EQ(drafted.json.at("choices"), plain.json.at("choices"));
  const Json& details = drafted.json.at("usage").at("completion_tokens_details");
  const uint64_t accepted = details.at("accepted_prediction_tokens");
  const uint64_t all = accepted + details.at("rejected_prediction_tokens").get<uint64_t>();
  EXPECT_GT(all, 0U);
  const std::string metrics = get("/metrics").text;
  EXPECT_NE(metrics.find(fmt::format("\ncria_draft_tokens_total {}\n", all)), std::string::npos) << metrics;
  EXPECT_NE(metrics.find(fmt::format("\ncria_draft_tokens_accepted_total {}\n", accepted)), std::string::npos)
      << metrics;
}

TEST_F(ServerTest, MessagesAndPromptsAreChecked) {
  start();
  const auto refuse_chat = [&](const Json& messages, std::string_view phrase) {
    SCOPED_TRACE(messages.dump());
    expect_refused(post("/v1/chat/completions", Json{{"messages", messages}}), 400, phrase);
  };
  refuse_chat(nullptr, "\"messages\" is missing");
  refuse_chat("Hi", "\"messages\" is \"Hi\": it must be a list of 1 to 4096 messages");
  refuse_chat(std::vector<int>(5000, 1), "\"messages\" holds 5000 messages, more than 4096");
  refuse_chat(Json::array(), "must be a list of 1 to");
  refuse_chat(Json::array({1}), "must be an object");
  refuse_chat(Json::array({Json::object()}), "has no \"role\"");
  refuse_chat(Json::array({{{"role", 1}, {"content", "Arr"}}}), "\"messages[0].role\" is 1: system, developer, user");
  refuse_chat(Json::array({{{"role", "user"}}}), "has no \"content\"");
  refuse_chat(Json::array({{{"role", "user"}, {"content", nullptr}}}), "must be a string");
  refuse_chat(Json::array({{{"role", "pirate"}, {"content", "Arr"}}}), "system, developer, user, assistant and tool");
  refuse_chat(Json::array({{{"role", "user"}, {"content", "a"}, {"name", "b"}}}), "the field \"name\"");
  refuse_chat(Json::array({{{"role", "user"}, {"content", Json::array({{{"type", "image_url"}}})}}}), "only parts");
  refuse_chat(Json::array({{{"role", "user"}, {"content", std::string(4000, 'x')}}}), "the context of 256");
  const Json parts = Json::array({{{"type", "text"}, {"text", "H"}}, {{"type", "text"}, {"text", "i"}}});
  const Json split = chat_body({{"messages", Json::array({{{"role", "user"}, {"content", parts}}})}});
  EXPECT_EQ(post("/v1/chat/completions", split).json.at("choices"),
            post("/v1/chat/completions", chat_body()).json.at("choices"));
  for (const Json& prompt :
       {Json(), Json(""), Json(1), Json::array(), Json::array({"a", "b"}), Json::array({Json::array({1})}),
        Json::array({-1}), Json::array({4294967296ULL}), Json::array({4096}), Json::array({1, "a"})}) {
    SCOPED_TRACE(prompt.dump());
    expect_refused(post("/v1/completions", Json{{"prompt", prompt}}), 400, "");
  }
  expect_refused(post("/v1/completions", Json{{"prompt", "a"}, {"model", "gpt-4"}}), 404,
                 "there is no model \"gpt-4\"");
  expect_refused(post("/tokenize", Json::object()), 400, "\"text\" is missing");
  expect_refused(post("/tokenize", Json{{"text", 1}}), 400, "must be a string");
  expect_refused(post("/detokenize", Json{{"tokens", 1}}), 400, "must be a list");
  expect_refused(post("/detokenize", Json{{"tokens", Json::array({4096})}}), 400, "4096");
}

TEST_F(ServerTest, WithoutATemplateThereAreNoChats) {
  start({}, 1, {}, /*has_template=*/false);
  expect_refused(post("/v1/chat/completions", chat_body()), 400, "has no chat template");
  EXPECT_EQ(post("/v1/completions", text_body()).status, 200);
}

TEST_F(ServerTest, GreedyAnswersAreTheSameAloneAndInABatch) {
  start({}, 4);
  const std::vector<std::string> prompts = {"Once upon a time",         "The dog", "A big red ball was",
                                            "Lily and Tom went to the", "One day", "There was"};
  const auto ask = [&](const std::string& prompt) {
    return post("/v1/completions", text_body({{"prompt", prompt}, {"max_tokens", 30}})).json.at("choices").dump();
  };
  std::vector<std::string> alone;
  for (const std::string& prompt : prompts) alone.push_back(ask(prompt));
  std::vector<std::string> together(prompts.size());
  std::vector<std::thread> clients;
  for (size_t i = 0; i < prompts.size(); ++i) clients.emplace_back([&, i] { together[i] = ask(prompts[i]); });
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(together, alone);
}

TEST_F(ServerTest, AFullQueueIsToldWithRetryAfter) {
  start({}, 1, {.max_queue = 1});
  const Json slow = text_body({{"max_tokens", 240}, {"stream", true}});
  RawClient first(server_->port());
  const std::string body = slow.dump();
  const std::string request =
      "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " +
      std::to_string(body.size()) + "\r\n\r\n" + body;
  ASSERT_TRUE(first.send(request));
  EXPECT_NE(first.receive(std::chrono::seconds(30), "data: ").find("200 OK"), std::string::npos);
  RawClient second(server_->port());
  ASSERT_TRUE(second.send(request));
  while (scheduler_->state().queued == 0) std::this_thread::yield();
  const Reply third = post("/v1/completions", text_body());
  expect_refused(third, 429, "too many requests are waiting");
  EXPECT_EQ(third.headers.find("Retry-After")->second, "1");
}

}  // namespace
}  // namespace cria::server
