// `cria chat` through pipes: one line, one turn.
#include "e2e/expect.h"
#include "tiny_model.h"

namespace cria::e2e {
namespace {

Launch chat(std::vector<std::string> more, const std::string& input) {
  std::vector<std::string> arguments = {
      "chat", default_model_path().string(), "--template", "chatml", "-n", "12", "--temperature", "0"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return Launch{.arguments = arguments, .input = input};
}

/// What the messages of a saved conversation say, in turn.
std::vector<std::string> contents(const std::filesystem::path& file) {
  const auto session = parse_json(file_text(file), file.string());
  EXPECT_TRUE(session) << session.error().message();
  std::vector<std::string> list;
  for (const Json& message : session->at("messages")) list.push_back(message.at("content"));
  return list;
}

TEST(Chat, AnswersLineByLineAndReadsOnlyWhatIsNew) {
  const TemporaryFolder folder;
  const std::string file = (folder.path() / "talk.json").string();
  const Outcome outcome =
      run(chat({"--verbose", "--system", "Tell stories."}, "Who is there?\r\nAnd\\\nthen?\n/save " + file + "\n"));
  expect_success(outcome);
  const std::vector<std::string> messages = contents(file);
  ASSERT_EQ(messages.size(), 5U);
  EXPECT_EQ(messages[0], "Tell stories.");
  EXPECT_EQ(messages[1], "Who is there?");
  EXPECT_EQ(messages[3], "And\nthen?");
  EXPECT_EQ(outcome.out, messages[2] + "\n" + messages[4] + "\n");
  expect_holds(outcome.err, "debug: 0 of the prompt's tokens were in the cache");
  EXPECT_EQ(occurrences(outcome.err, "debug: 0 of the prompt's tokens"), 1U) << outcome.err;
}

TEST(Chat, AConversationGoesOnFromAFileAsItWouldHaveGoneOn) {
  const TemporaryFolder folder;
  const std::string whole = (folder.path() / "whole.json").string();
  const std::string part = (folder.path() / "part.json").string();
  expect_success(run(chat({}, "One\n/save " + part + "\nTwo\n/save " + whole + "\n")));
  const std::string again = (folder.path() / "again.json").string();
  expect_success(run(chat({"--load", part}, "Two\n/save " + again + "\n")));
  EXPECT_EQ(contents(again), contents(whole));
}

TEST(Chat, ASavedCacheSparesTheReading) {
  const TemporaryFolder folder;
  const std::string whole = (folder.path() / "whole.json").string();
  const std::string part = (folder.path() / "part.json").string();
  const std::string again = (folder.path() / "again.json").string();
  expect_success(run(chat({"--save-cache"}, "One\n/save " + part + "\nTwo\n/save " + whole + "\n")));
  ASSERT_TRUE(std::filesystem::exists(part + ".kv"));
  const auto go_on = [&](std::vector<std::string> more) {
    more.insert(more.end(), {"--verbose", "--load", part});
    const Outcome outcome = run(chat(more, "Two\n/save " + again + "\n"));
    expect_success(outcome);
    EXPECT_EQ(contents(again), contents(whole));
    return outcome.err;
  };
  const std::string read_all = "debug: 0 of the prompt's tokens were in the cache";
  const std::string with_cache = go_on({});
  expect_holds(with_cache, " of the prompt's tokens were in the cache");
  EXPECT_EQ(occurrences(with_cache, read_all), 0U) << with_cache;
  const std::string other_type = go_on({"--kv-type", "f32"});
  expect_holds(other_type, "part.json.kv: was made with another model");
  expect_holds(other_type, read_all);
  // Cut, and with a header that says something else.
  const std::string bytes = file_text(part + ".kv");
  folder.write("part.json.kv", bytes.substr(0, bytes.size() / 2));
  expect_holds(go_on({}), "(the conversation will be read anew)");
  std::string renamed = bytes;
  const size_t at = renamed.find("layers.3.keys");
  ASSERT_NE(at, std::string::npos);
  renamed.replace(at, 13, "layers.9.keys");
  folder.write("part.json.kv", renamed);
  expect_holds(go_on({}), "\"layers.3.keys\" is missing");
  std::filesystem::remove(part + ".kv");
  expect_holds(go_on({}), read_all);
}

TEST(Chat, CommandsChangeTheConversation) {
  const TemporaryFolder folder;
  const std::string file = (folder.path() / "talk.json").string();
  const Outcome outcome =
      run(chat({}, "One\n/regen\n/reset\n/system Be brief.\nTwo\n/stats\n/help\n/save " + file + "\n/quit\nThree\n"));
  expect_success(outcome);
  EXPECT_EQ(contents(file).size(), 3U);
  EXPECT_EQ(contents(file)[0], "Be brief.");
  expect_holds(outcome.err, "/regen         give the last answer anew");
  expect_holds(outcome.err, "\n  stopped   ");
}

TEST(Chat, AFullContextDropsTheOldestTurnsAndSaysSo) {
  std::string input;
  for (int turn = 0; turn < 6; ++turn) input += "Tell me a little more about the dog and the cat, please.\n";
  const TemporaryFolder folder;
  const std::string file = (folder.path() / "talk.json").string();
  const Outcome outcome = run(chat({"--max-context", "200", "--system", "Be kind."}, input + "/save " + file + "\n"));
  expect_success(outcome);
  expect_holds(outcome.err, "the context of 200 tokens is full: the 2 oldest messages were dropped");
  EXPECT_EQ(contents(file)[0], "Be kind.");
}

TEST(Chat, StopTextsEndAnAnswer) {
  const Outcome whole = run(chat({}, "Once upon a time\n"));
  ASSERT_GT(whole.out.size(), 8U);
  const std::string stop = whole.out.substr(5, 2);
  const Outcome cut = run(chat({"--stop", stop}, "Once upon a time\n"));
  expect_success(cut);
  EXPECT_EQ(cut.out, whole.out.substr(0, whole.out.find(stop)) + "\n");
}

TEST(Chat, RefusesWhatCannotBe) {
  expect_refused_silently(run({"chat", default_model_path().string()}),
                          {"has no chat template", "cria run", "--template"});
  expect_refused_silently(run({"chat", default_model_path().string(), "--template", "/no/such"}),
                          {"/no/such: cannot be opened", "those that come with Cria are chatml"});
  expect_refused_silently(run(chat({"--stop", ""}, "a\n")), {"--stop is empty"});
  expect_refused_silently(run(chat({}, "/nonsense\n")), {"there is no command /nonsense"});
  expect_refused_silently(run(chat({}, "/regen\n")), {"there is no answer to give anew"});
  expect_refused_silently(run(chat({}, "/load\n")), {"/load needs the name of a file"});
  expect_refused_silently(run(chat({}, "a\xff\n")), {"is not valid UTF-8"});
  expect_refused_silently(run(chat({"--max-context", "32"}, std::string(2000, 'x') + "\n")),
                          {"and the context has 32"});
  const TemporaryFolder folder;
  for (const char* text :
       {"[]", "{}", "{\"cria_chat\": 1}", "{\"cria_chat\": 2, \"messages\": []}", "x",
        "{\"cria_chat\": 1, \"messages\": [1]}", "{\"cria_chat\": 1, \"messages\": [{\"role\": 1}]}"}) {
    const std::string file = folder.write("bad.json", text).string();
    expect_refused_silently(run(chat({"--load", file}, "")), {"bad.json: "});
  }
}

TEST(Chat, ATemplateOfTheModelsOwnIsTaken) {
  const TinyModel tiny;
  tiny.write("chat_template.jinja", "{{ raise_exception('no ' ~ messages[0].content) }}");
  expect_refused_silently(run(Launch{.arguments = {"chat", tiny.path().string()}, .input = "way\n"}),
                          {"the chat template refuses this conversation: no way"});
  tiny.write("chat_template.jinja", "{% for %}");
  expect_refused_silently(run(Launch{.arguments = {"chat", tiny.path().string()}, .input = "way\n"}),
                          {"chat_template.jinja: the chat template: line 1: "});
}

}  // namespace
}  // namespace cria::e2e
