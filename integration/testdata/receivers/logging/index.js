exports.getWinstonLogger = () => ({ debug() {} });
