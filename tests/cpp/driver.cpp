// Answers requests of the tests: one JSON object a line in, one out. Errors are answers too.

#include "textrnn.hpp"

#include <cstdio>
#include <iostream>
#include <map>
#include <thread>

namespace {

using textrnn::detail::Json;
const std::string PLACE = "request";

std::string json(double number) {
    char text[40];
    std::snprintf(text, sizeof text, "%.17g", number);
    return text;
}

std::string json(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        char escape[8];
        if (byte < 0x20 || c == '"' || c == '\\') {
            std::snprintf(escape, sizeof escape, "\\u%04x", byte);
            out += escape;
        } else {
            out += c;
        }
    }
    return out + '"';
}

std::string json(const std::string& text) { return json(std::string_view(text)); }
std::string json(std::int32_t number) { return std::to_string(number); }
std::string json(std::size_t number) { return std::to_string(number); }
std::string json(float number) { return json(static_cast<double>(number)); }
std::string json(const std::pair<std::string, double>& pair) {
    return "[" + json(pair.first) + "," + json(pair.second) + "]";
}

std::string json(const textrnn::Prediction& prediction);
std::string json(const textrnn::Translation& found);

template <class T>
std::string json(const std::vector<T>& items) {
    std::string out = "[";
    for (const T& item : items) out += (out.size() > 1 ? "," : "") + json(item);
    return out + "]";
}

std::string json(const textrnn::Prediction& prediction) {
    return "{\"label\":" + json(prediction.label) + ",\"labels\":" + json(prediction.labels) +
           ",\"probability\":" + json(prediction.probability) + ",\"probabilities\":" + json(prediction.probabilities) +
           ",\"tokens\":" + json(prediction.tokens) + ",\"tokens_read\":" + json(prediction.tokens_read) + "}";
}

std::string json(const textrnn::Translation& found) {
    std::string candidates;
    for (const textrnn::Candidate& each : found.candidates) {
        candidates += (candidates.empty() ? "" : ",") + ("{\"text\":" + json(each.text)) +
                      ",\"score\":" + json(each.score) + ",\"log_prob\":" + json(each.log_prob) +
                      ",\"alignment\":{\"source\":" + json(each.alignment.source) +
                      ",\"output\":" + json(each.alignment.output) + ",\"weights\":" + json(each.alignment.weights) +
                      "}}";
    }
    const auto flag = [](bool value) { return std::string(value ? "true" : "false"); };
    return "{\"text\":" + json(found.text()) + ",\"candidates\":[" + candidates + "],\"tokens\":" +
           json(found.tokens) + ",\"is_whole\":" + flag(found.is_whole) + ",\"is_longer\":" + flag(found.is_longer) +
           "}";
}

double number(const Json& value) {
    if (const auto* whole = value.get<std::int64_t>()) return static_cast<double>(*whole);
    return value.get<double>() ? *value.get<double>() : std::nan("");
}

double number(const Json& request, const char* name, double otherwise) {
    const Json* value = request.find(name);
    return value ? number(*value) : otherwise;
}

std::vector<float> floats(const Json& list) {
    std::vector<float> out;
    for (const Json& item : *list.get<Json::Array>()) out.push_back(static_cast<float>(number(item)));
    return out;
}

std::vector<std::string> strings(const Json& request, const char* name) {
    std::vector<std::string> out;
    if (!request.find(name)) return out;
    for (const Json& item : request.at<Json::Array>(name, PLACE)) out.push_back(*item.get<std::string>());
    return out;
}

std::string from_hex(const std::string& digits) {
    std::string out;
    for (std::size_t i = 0; i < digits.size(); i += 2)
        out += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
    return out;
}

textrnn::GenerateOptions options_of(const Json& request) {
    textrnn::GenerateOptions options;
    options.length = static_cast<int>(number(request, "length", options.length));
    options.temperature = number(request, "temperature", options.temperature);
    options.top_k = static_cast<int>(number(request, "top_k", options.top_k));
    options.top_p = number(request, "top_p", options.top_p);
    options.min_p = number(request, "min_p", options.min_p);
    options.repetition_penalty = number(request, "repetition_penalty", options.repetition_penalty);
    options.beams = static_cast<int>(number(request, "beams", options.beams));
    options.stop = strings(request, "stop");
    if (request.find("seed")) options.seed = std::stoull(request.at<std::string>("seed", PLACE));
    options.stream = static_cast<std::uint32_t>(number(request, "stream", 0));
    return options;
}

const textrnn::Model& model_of(const Json& request) {
    static std::map<std::string, std::unique_ptr<textrnn::Model>> models;
    const auto& path = request.at<std::string>("bundle", PLACE);
    if (!models.count(path)) models[path] = std::make_unique<textrnn::Model>(std::filesystem::u8path(path));
    return *models[path];
}

std::string answer(const Json& request) {
    const auto& task = request.at<std::string>("do", PLACE);
    if (task == "random") {
        textrnn::detail::Random random(std::stoull(request.at<std::string>("seed", PLACE)),
                                       static_cast<std::uint32_t>(number(request, "stream", 0)));
        std::vector<double> draws;
        for (int i = 0; i < static_cast<int>(number(request, "count", 1)); ++i) draws.push_back(random.next());
        return json(draws);
    }
    if (task == "sample") {
        std::vector<double> logits;
        for (const Json& item : request.at<Json::Array>("logits", PLACE)) logits.push_back(number(item));
        std::vector<bool> seen(logits.size());
        for (const Json& id : request.at<Json::Array>("seen", PLACE)) seen[static_cast<std::size_t>(number(id))] = true;
        return json(textrnn::detail::sample(logits, options_of(request), number(request, "uniform", 0), seen));
    }
    if (task == "replace_invalid")
        return json(textrnn::replace_invalid(from_hex(request.at<std::string>("hex", PLACE))));
    if (task == "tokenize") {  // a tokenizer without a model
        const auto& kind = request.at<std::string>("kind", PLACE);
        const std::string file = from_hex(request.at<std::string>("file", PLACE));
        std::unique_ptr<textrnn::detail::Tokenizer> tokenizer;
        if (kind == "sentencepiece") {
            tokenizer = std::make_unique<textrnn::detail::SentencePieceTokenizer>(file, PLACE);
        } else if (kind == "word") {
            tokenizer = std::make_unique<textrnn::detail::WordTokenizer>(Json::parse(file, PLACE), PLACE);
        } else {
            tokenizer = std::make_unique<textrnn::detail::CharTokenizer>(Json::parse(file, PLACE), PLACE);
        }
        std::string out;
        for (const std::string& text : strings(request, "texts")) {
            out += (out.empty() ? "[" : ",") + json(tokenizer->encode(text));
            if (!request.find("whole")) continue;
            const textrnn::detail::Source whole = tokenizer->encode_whole(text);
            out += "," + json(whole.ids) + "," + json(whole.pieces);
        }
        for (const Json& item : request.at<Json::Array>("decode", PLACE)) {
            textrnn::Ids ids;
            for (const Json& id : item.at<Json::Array>("ids", PLACE))
                ids.push_back(static_cast<std::int32_t>(number(id)));
            out += (out.empty() ? "[" : ",") + json(tokenizer->decode(ids, item.at<std::string>("after", PLACE)));
        }
        return out.empty() ? "[]" : out + "]";
    }
    const textrnn::Model& model = model_of(request);
    if (task == "encode")
        return json(model.encode(request.find("hex") ? from_hex(request.at<std::string>("hex", PLACE))
                                                     : request.at<std::string>("text", PLACE)));
    if (task == "kind") return json(model.kind());
    if (task == "generate") {
        std::vector<std::string> pieces;
        const auto most = static_cast<std::size_t>(number(request, "pieces", 1e9));
        const std::string text =
            model.generate(request.at<std::string>("prompt", PLACE), options_of(request), [&](std::string_view piece) {
                pieces.emplace_back(piece);
                return pieces.size() < most;
            });
        return "{\"text\":" + json(text) + ",\"pieces\":" + json(pieces) + "}";
    }
    if (task == "threads") {  // with a new model, whose graphs the threads load
        const textrnn::Model shared(std::filesystem::u8path(request.at<std::string>("bundle", PLACE)));
        const auto& prompt = request.at<std::string>("prompt", PLACE);
        std::vector<std::string> texts(static_cast<std::size_t>(number(request, "seeds", 1)));
        std::vector<std::thread> threads;
        for (std::size_t seed = 0; seed < texts.size(); ++seed) {
            threads.emplace_back([&, seed] {
                textrnn::GenerateOptions options;
                options.seed = seed;
                texts[seed] = shared.generate(prompt, options);
                shared.score(prompt);
            });
        }
        for (std::thread& thread : threads) thread.join();
        return json(texts);
    }
    if (task == "score") {
        const textrnn::Score score = model.score(request.at<std::string>("text", PLACE));
        return "{\"nats\":" + json(score.nats) + ",\"tokens\":" + json(score.tokens) +
               ",\"characters\":" + json(score.characters) + ",\"bytes\":" + json(score.bytes) +
               ",\"perplexity\":" + json(score.perplexity()) +
               ",\"bits_per_character\":" + json(score.bits_per_character()) +
               ",\"bits_per_byte\":" + json(score.bits_per_byte()) + "}";
    }
    if (task == "next_probs") {
        return json(model.next_probs(request.at<std::string>("text", PLACE),
                                     static_cast<std::size_t>(number(request, "top", 10))));
    }
    if (task == "classify") return json(model.classify(strings(request, "texts")));
    if (task == "transform") {
        textrnn::TransformOptions options;
        options.beams = static_cast<int>(number(request, "beams", options.beams));
        if (request.find("length_penalty")) options.length_penalty = number(*request.find("length_penalty"));
        options.align = request.find("align") != nullptr;
        return json(model.transform(strings(request, "texts"), options));
    }
    if (task == "forecast") {
        return json(
            model.forecast(floats(*request.find("history")), static_cast<std::size_t>(number(request, "steps", 0))));
    }
    std::vector<std::vector<float>> records;
    for (const Json& record : request.at<Json::Array>("records", PLACE)) records.push_back(floats(record));
    if (task == "classify_vectors") return json(model.classify_vectors(records));
    return json(model.predict(records));
}

}  // namespace

int main() {
    std::string line;
    while (std::getline(std::cin, line)) {
        try {
            const std::string text = answer(Json::parse(line, PLACE));
            std::cout << "{\"answer\":" << text << "}\n";
        } catch (const textrnn::Error& error) {
            std::cout << "{\"error\":" << json(std::string(error.what())) << "}\n";
        }
        std::cout.flush();
    }
}
