/** Options of generation, with the names and defaults of textrnn in Python. */
export interface GenerationOptions {
  /** Maximum number of tokens; 200. */
  length?: number;
  /** Divisor of the logits: lower is more predictable, higher more random; 0 is greedy; 1. */
  temperature?: number;
  /** Sample from the k most probable tokens; 0 samples from all. */
  topK?: number;
  /** Sample from the fewest tokens whose probabilities sum to this; 1 samples from all. */
  topP?: number;
  /** Drop tokens below this fraction of the top token's probability; 0 keeps all. */
  minP?: number;
  /** Above 1, tokens that are already in the text become less probable; 1. */
  repetitionPenalty?: number;
  /** Above 1, beam search with this many beams instead of sampling; 1. */
  beams?: number;
  /** A string or strings that end the text; they are not part of it. */
  stop?: string | string[];
  /** The same seed gives the same text as in Python. Without one, each text is new. */
  seed?: number | bigint | null;
  /** Stops the generation: the call throws the reason of the signal. */
  signal?: AbortSignal | null;
}

export interface Tokenizer {
  readonly vocabularySize: number;
  encode(text: string): Int32Array;
  /** Return the text of ids that continue the text `after`, which is not repeated. */
  decode(ids: Iterable<number>, after?: string): string;
  tokenText(id: number): string;
}

export interface TextMetrics {
  /** Negative log-likelihood of the text. */
  nats: number;
  tokens: number;
  characters: number;
  bytes: number;
  natsPerToken: number;
  perplexity: number;
  bitsPerCharacter: number;
  bitsPerByte: number;
}

interface Model<Kind extends string> {
  /** The content of manifest.json. */
  readonly manifest: { readonly kind: Kind; readonly [entry: string]: unknown };
}

export interface LanguageModel extends Model<"language_model"> {
  readonly tokenizer: Tokenizer;
  /** Generate a continuation of the prompt, without the prompt itself. */
  generate(prompt?: string, options?: GenerationOptions): Promise<string>;
  /** Yield the text of `generate` in pieces of whole characters. */
  stream(prompt?: string, options?: GenerationOptions): AsyncGenerator<string, void, undefined>;
  /** Generate several texts as one batch. */
  samples(prompt: string, options: GenerationOptions & { count: number }): Promise<string[]>;
  /** Measure how well the model predicts a text. */
  score(text: string): Promise<TextMetrics>;
  /** Return the log-probability in nats of each of the ids, given those before it. */
  tokenLogProbs(ids: Int32Array): Promise<Float64Array>;
  /** Return the `top` most probable tokens after a text, the highest first. */
  nextProbs(text: string, top?: number): Promise<{ text: string; probability: number }[]>;
}

export interface Prediction {
  /** The most probable class. */
  label: string;
  probability: number;
  /** Probability of each class. */
  probs: Record<string, number>;
}

export interface ReadText {
  /** Tokens of the text. */
  tokens: number;
  /** Fewer than `tokens` where a long text was cut in the middle. */
  tokensRead: number;
}

export interface Classifier extends Model<"classifier"> {
  readonly tokenizer: Tokenizer;
  readonly labels: string[];
  readonly maxLength: number;
  classify(texts: Iterable<string>): Promise<(Prediction & ReadText)[]>;
}

export interface MultilabelPrediction extends ReadText {
  /** Labels whose probability reaches their threshold, the most probable first. */
  labels: string[];
  probs: Record<string, number>;
}

export interface MultilabelClassifier extends Model<"multilabel_classifier"> {
  readonly tokenizer: Tokenizer;
  readonly labels: string[];
  readonly maxLength: number;
  classify(texts: Iterable<string>): Promise<MultilabelPrediction[]>;
}

/** One record of numbers: values over time, vectors over time, or the rows of an image. */
export type Numbers = ArrayLike<number> | ArrayLike<number>[] | ArrayLike<number>[][];

export interface VectorClassifier extends Model<"vector_classifier"> {
  readonly labels: string[];
  /** Values of a step. */
  readonly features: number;
  classify(records: Numbers[]): Promise<Prediction[]>;
}

/**
 * A recording: the path of a .wav file (PCM of 8 to 32 bits, or floats), its bytes, or samples between -1 and 1, or those
 * of each channel, with their rate in Hz.
 */
export type Recording =
  | string
  | Uint8Array
  | ArrayBuffer
  | { samples: number[] | Float32Array | Float32Array[]; rate: number };

/** How recordings become log-mel frames: one every 10 ms, each of 25 ms. */
export interface AudioFormat {
  readonly sampleRate: number;
  readonly melBins: number;
  /** Return the frames of a recording, (time * melBins); `place` names it in messages. */
  frames(recording: Recording, place: string): Promise<Float32Array>;
}

export interface AudioClassifier extends Model<"vector_classifier"> {
  readonly labels: string[];
  /** Values of a frame. */
  readonly features: number;
  readonly format: AudioFormat;
  classify(recordings: Iterable<Recording>): Promise<Prediction[]>;
}

export interface TranscribeOptions {
  /** Prefixes that a beam search keeps, and candidates that are returned at most; 1, or 8 with `lm`. 1 is fastest. */
  beams?: number;
  /** A language model of characters. */
  lm?: LanguageModel | null;
  /** Weight of the language model: the score is log p(text | recording) + alpha log p(text) + beta characters; 0.5. */
  alpha?: number;
  /** What each character adds with a language model, which prefers short texts; 0.5. */
  beta?: number;
}

export interface Utterance {
  text: string;
  /** By which texts are compared: `logProb` plus what language model and length add. */
  score: number;
  /** Log-probability of the text in nats; of a beam search, over the paths that it kept. */
  logProb: number;
  probability: number;
}

export interface Transcript extends Utterance {
  /** The best texts; the fields of the first are those of the transcript, too. */
  candidates: Utterance[];
  /** Length of the recording. */
  seconds: number;
}

export interface Recognizer extends Model<"recognizer"> {
  readonly tokenizer: Tokenizer;
  readonly features: number;
  readonly format: AudioFormat;
  /** Return the text of each recording. */
  transcribe(recordings: Iterable<Recording>, options?: TranscribeOptions): Promise<Transcript[]>;
}

export interface Regressor extends Model<"regressor"> {
  readonly features: number;
  /** Predict the values of each record, in the units of the targets. */
  predict(records: Numbers[]): Promise<number[][]>;
}

export interface Forecaster extends Model<"forecaster"> {
  /** Steps that are predicted at once. */
  readonly horizon: number;
  readonly features: number;
  /** Forecast the steps after a history (time, features), or (time,) for one feature: (steps, features). */
  forecast(values: ArrayLike<number> | ArrayLike<number>[], steps?: number): Promise<number[][]>;
}

export interface SearchOptions {
  /** Hypotheses that the search keeps, and candidates that are returned at most; 4. 1 is greedy and fastest. */
  beams?: number;
  /** Power of the length that divides log-probabilities: 0 prefers short outputs. Default: that of the model. */
  lengthPenalty?: number;
  /** Stops the search: the call throws the reason of the signal. */
  signal?: AbortSignal | null;
}

export interface Alignment {
  /** Tokens of the source. */
  source: string[];
  /** Tokens of the output. */
  output: string[];
  /** Attention to each source token at each output token. */
  weights: number[][];
}

export interface Candidate {
  text: string;
  /** Log-probability in nats, divided by the number of tokens to the power of the length penalty. */
  score: number;
  logProb: number;
  /** With the option `align`. */
  alignment?: Alignment;
}

export interface Translation extends Omit<Candidate, "alignment"> {
  /** The best outputs; the fields of the first are those of the translation, too. */
  candidates: Candidate[];
  /** Tokens of the source. */
  tokens: number;
  /** False where the output was cut at the bound on its length. */
  isWhole: boolean;
  /** Whether the source has more tokens than any in training, so that the output is uncertain. */
  isLonger: boolean;
}

export interface Translator extends Model<"text_to_text"> {
  readonly tokenizer: Tokenizer;
  readonly targetTokenizer: Tokenizer;
  /** Tokens of the longest source in training. */
  readonly longestSource: number;
  /** Return the output for each text; `align` adds the alignment of each candidate. */
  transform(texts: Iterable<string>, options?: SearchOptions & { align?: boolean }): Promise<Translation[]>;
  /** Return which source tokens each token of the best output was made from. */
  align(text: string, options?: SearchOptions): Promise<Alignment>;
}

export type AnyModel =
  | LanguageModel
  | Classifier
  | MultilabelClassifier
  | VectorClassifier
  | AudioClassifier
  | Recognizer
  | Regressor
  | Forecaster
  | Translator;

/** An input or a bundle that cannot be used; its message is one line. */
export class UserError extends Error {}

/**
 * Load the model of a bundle folder, or of a run folder with a bundle in it, after its files are checked against the
 * sizes and hashes of the manifest.
 *
 * @throws {UserError} There is no bundle, or a file of it is missing or damaged.
 */
export function load<M extends AnyModel = AnyModel>(folder: string, options?: { threads?: number }): Promise<M>;
