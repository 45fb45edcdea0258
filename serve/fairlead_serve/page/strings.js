// Every sentence of the page, in the languages that it speaks.

const STRINGS = {
  en: {
    answer: "Answer",
    answer_by: "Answer by {model}",
    answer_failed: "The answer broke off",
    answer_finished: "The answer is complete.",
    api_docs: "API reference",
    back_in_box: "What you wrote is back in the box below.",
    cancel: "Cancel",
    close: "Close",
    code: "Code",
    conversation: "Conversation",
    conversations: "Conversations",
    copied: "Copied",
    copy: "Copy",
    copy_answer: "Copy the answer",
    copy_code: "Copy the code",
    copy_failed: "The browser does not allow copying",
    default: "the model's own",
    delete: "Delete",
    delete_question: "Delete “{title}”? What was said in it cannot be brought back.",
    delete_this: "Delete the conversation “{title}”",
    earlier: "Show earlier messages",
    edit: "Edit",
    edit_message: "Edit your message",
    edit_drops: "Sending this removes what came after it.",
    failed: "The server failed",
    first_token: "first token after {seconds} s",
    forbidden: "The key does not allow this",
    forget: "Forget the key",
    greeting: "What would you like to know?",
    hint: "Enter sends, Shift+Enter breaks the line, Esc stops the answer.",
    incomplete: "This answer is not complete.",
    instructions: "System prompt",
    instructions_hint: "What the model should know or do in this conversation.",
    instructions_long: "The system prompt is {count} characters too long: at most {limit} are kept with a conversation. Shorten it.",
    key: "API key",
    key_ascii: "A key has no spaces and no letters with accents.",
    key_hint: "The server wants an API key. It begins with “flk-”; whoever runs the server hands it out.",
    key_remember: "Remember it on this device",
    key_use: "Use this key",
    key_wrong: "The server does not accept this key: it is wrong, or has been revoked.",
    latest: "Go to the end",
    message: "Message",
    message_to: "Message {model}",
    model: "Model",
    more: "Show more",
    new: "New conversation",
    no_conversations: "What you ask is kept here.",
    no_model: "No model is served here yet",
    no_model_detail: "Apply a Model, then try again.",
    not_found: "That does not exist",
    other_item: "Not shown here: {type}",
    page_failed: "This page has a fault",
    refused: "The server does not take this",
    regenerate: "Regenerate",
    reset: "Reset",
    retry: "Try again",
    send: "Send",
    settings: "Settings",
    stop: "Stop",
    table: "Table",
    temperature: "Temperature",
    temperature_hint: "Low: the likeliest words. High: more of a surprise.",
    thinking: "Thinking …",
    thoughts: "Thoughts",
    timeout: "The answer took too long",
    token: "1 token",
    tokens: "{count} tokens",
    tokens_rate: "{rate} tokens/s",
    too_large: "That is too long",
    too_many: "Too many requests",
    unauthorised: "The server wants an API key",
    unavailable: "The model is not available now",
    unreachable: "The server cannot be reached",
    unreachable_detail: "Look whether it is running and the network is there, then try again.",
    untitled: "Conversation of {date}",
    waiting: "Waiting for the model …",
    you: "You",
  },
  zh: {
    answer: "回答",
    answer_by: "{model} 的回答",
    answer_failed: "回答中断了",
    answer_finished: "回答完毕。",
    api_docs: "API 参考",
    back_in_box: "您写的内容已放回下方的输入框。",
    cancel: "取消",
    close: "关闭",
    code: "代码",
    conversation: "对话",
    conversations: "对话列表",
    copied: "已复制",
    copy: "复制",
    copy_answer: "复制回答",
    copy_code: "复制代码",
    copy_failed: "浏览器不允许复制",
    default: "模型默认值",
    delete: "删除",
    delete_question: "要删除“{title}”吗？其中的内容将无法恢复。",
    delete_this: "删除对话“{title}”",
    earlier: "显示更早的消息",
    edit: "编辑",
    edit_message: "编辑您的消息",
    edit_drops: "发送后，此消息之后的内容将被移除。",
    failed: "服务器出错了",
    first_token: "首个词元 {seconds} 秒",
    forbidden: "此密钥无权这样做",
    forget: "清除密钥",
    greeting: "想了解些什么？",
    hint: "Enter 发送，Shift+Enter 换行，Esc 停止回答。",
    incomplete: "此回答不完整。",
    instructions: "系统提示词",
    instructions_hint: "模型在此对话中应当知道或遵守的内容。",
    instructions_long: "系统提示词超出 {count} 个字符：每个对话最多保存 {limit} 个字符，请缩短。",
    key: "API 密钥",
    key_ascii: "密钥不含空格和特殊字符。",
    key_hint: "服务器需要 API 密钥。密钥以“flk-”开头，由服务器管理员发放。",
    key_remember: "在此设备上记住",
    key_use: "使用此密钥",
    key_wrong: "服务器不接受此密钥：密钥有误或已被吊销。",
    latest: "跳到末尾",
    message: "消息",
    message_to: "给 {model} 发消息",
    model: "模型",
    more: "显示更多",
    new: "新对话",
    no_conversations: "您的提问会保存在这里。",
    no_model: "这里还没有可用的模型",
    no_model_detail: "请先部署一个 Model，然后重试。",
    not_found: "不存在",
    other_item: "此处不显示：{type}",
    page_failed: "页面出错了",
    refused: "服务器不接受此请求",
    regenerate: "重新生成",
    reset: "重置",
    retry: "重试",
    send: "发送",
    settings: "设置",
    stop: "停止",
    table: "表格",
    temperature: "温度",
    temperature_hint: "低：用词更稳妥；高：更多变化。",
    thinking: "思考中……",
    thoughts: "思考过程",
    timeout: "回答超时",
    token: "1 个词元",
    tokens: "{count} 个词元",
    tokens_rate: "{rate} 词元/秒",
    too_large: "内容太长",
    too_many: "请求过多",
    unauthorised: "服务器需要 API 密钥",
    unavailable: "模型暂时不可用",
    unreachable: "无法连接服务器",
    unreachable_detail: "请检查服务器是否在运行、网络是否正常，然后重试。",
    untitled: "{date} 的对话",
    waiting: "等待模型响应……",
    you: "您",
  },
};

const speaks = (tag) => tag.toLowerCase().split("-")[0];

/** The first of the browser's languages that the page speaks; English where it speaks none. */
export const language = navigator.languages.map(speaks).find((one) => one in STRINGS) ?? "en";

/** The sentence of that name, with `values` in the places that it has for them. */
export function say(name, values = {}) {
  return STRINGS[language][name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
}

/** A number as the language writes it. */
export function number(value, digits = 0) {
  return new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);
}

/** A day as the language writes it; `seconds` since 1970. */
export function date(seconds) {
  return new Intl.DateTimeFormat(language, { dateStyle: "medium" }).format(new Date(seconds * 1000));
}

/** Write the sentences into the elements of `root` that name them. */
export function write(root) {
  const attributes = { text: null, label: "aria-label", title: "title" };
  for (const [kind, attribute] of Object.entries(attributes)) {
    for (const element of root.querySelectorAll(`[data-${kind}]`)) {
      const sentence = say(element.dataset[kind]);
      if (attribute) element.setAttribute(attribute, sentence);
      else element.textContent = sentence;
    }
  }
}
